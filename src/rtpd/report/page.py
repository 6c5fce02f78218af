"""Blocks as one HTML page without scripts or foreign links; see `markdown` for the same as text."""

import re
from base64 import b64encode
from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files
from itertools import groupby

from rtpd.report.blocks import Block, Contents, Details, Facts, Heading, Picture, Table, Text
from rtpd.report.drawing import inline, variables
from rtpd.system.formatting import clean

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"  # nothing is ever loaded


def html(blocks: Sequence[Block]) -> str:
    """The whole page; all text of the blocks is escaped."""
    title = next(block.text for block in blocks if isinstance(block, Heading))
    head = [
        '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
        f"<title>{_text(title)}</title>",
        f"<style>\n{style()}</style>",
    ]
    lines = ["<!doctype html>", '<html lang="en">', "<head>", *head, "</head>", "<body>", "<main>"]
    return "\n".join([*lines, *_body(blocks), "</main>", "</body>", "</html>", ""])


def style() -> str:
    """The style sheet, with the colours of figures on light and on dark."""
    return variables() + files("rtpd.report").joinpath("style.css").read_text()


def _body(blocks: Iterable[Block]) -> list[str]:
    """Pictures in a row share a grid."""
    body: list[str] = []
    for is_picture, run in groupby(blocks, key=lambda block: isinstance(block, Picture)):
        parts = [_html(block) for block in run]
        body += ['<div class="figures">', *parts, "</div>"] if is_picture else parts
    return body


def _html(block: Block) -> str:
    match block:
        case Heading(text, level, anchor):
            name = f' id="{anchor}"' if anchor else ""
            return f"<h{level}{name}>{_text(text)}</h{level}>"
        case Text(text):
            return f"<p>{_text(text)}</p>"
        case Facts(rows):
            pairs = (f"<dt>{_text(name)}</dt><dd>{_text(value)}</dd>" for name, value in rows)
            return f"<dl>{''.join(pairs)}</dl>"
        case Table():
            return _html_table(block)
        case Picture():
            return _html_picture(block)
        case Contents(links):
            items = "".join(f'<li><a href="#{to}">{_text(text)}</a></li>' for text, to in links)
            return f'<nav aria-label="Contents"><ul>{items}</ul></nav>'
        case Details(heading, inner, unfolded):
            mark = " open" if unfolded else ""
            lines = [f"<details{mark}>", f"<summary>{_html(heading)}</summary>", *_body(inner)]
            return "\n".join([*lines, "</details>"])


def _html_table(table: Table) -> str:
    def row(cells: Sequence[str], tag: str) -> str:
        kinds = [table.kind(i) for i in range(len(cells))]
        sides = [f' class="{kind}"' if kind else "" for kind in kinds]
        tags = ["th", *[tag] * (len(cells) - 1)]
        sides[0] = ' scope="row"' if tag == "td" else ""
        parts = zip(tags, sides, map(_text, cells), strict=True)
        return "".join(f"<{tag}{side}>{text}</{tag}>" for tag, side, text in parts)

    body = "\n".join(f"<tr>{row(cells, 'td')}</tr>" for cells in table.rows)
    head = row(table.head, "th")
    name = _text(table.title or table.head[0])
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{name}"><table>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table></div>"
    )


def _html_picture(picture: Picture) -> str:
    instead = _text(f"{picture.title}. {picture.instead}")
    if picture.file.endswith(".svg"):
        image = inline(picture.data.decode(), f"f{picture.file.partition('-')[0]}", instead)
    else:
        source = f"data:image/webp;base64,{b64encode(picture.data).decode()}"
        image = f'<img src="{source}" alt="{instead}">'
    return f"<figure>\n{image}\n<figcaption>{_text(picture.caption)}</figcaption>\n</figure>"


def _text(text: str) -> str:
    """Fit for an element and for an attribute in double quotes; no control characters.

    A number and its % stay together.
    """
    return re.sub(r"(?<=\d) %", "\u00a0%", escape(clean(text)))
