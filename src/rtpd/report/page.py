"""Blocks as one HTML page without scripts or links, and as Markdown beside it."""

import re
from base64 import b64encode
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from itertools import groupby

from rtpd.report.blocks import Block, Facts, Heading, Picture, Table, Text
from rtpd.report.drawing import inline
from rtpd.system.formatting import clean

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"  # nothing is ever loaded


def html(blocks: Sequence[Block]) -> str:
    """The whole page; all text of the blocks is escaped."""
    body = []
    for is_picture, run in groupby(blocks, key=lambda block: isinstance(block, Picture)):
        parts = [_html(block) for block in run]
        body += ['<div class="figures">', *parts, "</div>"] if is_picture else parts
    title = next(block.text for block in blocks if isinstance(block, Heading))
    style = files("rtpd.report").joinpath("style.css").read_text()
    head = [
        '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
        f"<title>{_text(title)}</title>",
        f"<style>\n{style}</style>",
    ]
    lines = ["<!doctype html>", '<html lang="en">', "<head>", *head, "</head>", "<body>", "<main>"]
    return "\n".join([*lines, *body, "</main>", "</body>", "</html>", ""])


def _html(block: Block) -> str:
    match block:
        case Heading(text, level):
            return f"<h{level}>{_text(text)}</h{level}>"
        case Text(text):
            return f"<p>{_text(text)}</p>"
        case Facts(rows):
            pairs = (f"<dt>{_text(name)}</dt><dd>{_text(value)}</dd>" for name, value in rows)
            return f"<dl>{''.join(pairs)}</dl>"
        case Table():
            return _html_table(block)
        case Picture():
            return _html_picture(block)


def _html_table(table: Table) -> str:
    def row(cells: Sequence[str], tag: str) -> str:
        sides = ['class="n"' if i >= table.numbers else "" for i in range(len(cells))]
        pairs = zip(cells, sides, strict=True)
        return "".join(f"<{tag} {side}>{_text(cell)}</{tag}>" for cell, side in pairs)

    lines = [f"<tr>{row(cells, 'td')}</tr>" for cells in table.rows]
    body = "\n".join(lines).replace("<td >", "<td>")
    head = row(table.head, "th").replace("<th >", "<th>")
    return (
        '<div class="scroll"><table>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table></div>"
    )


def _html_picture(picture: Picture) -> str:
    if picture.file.endswith(".svg"):
        name = f"f{picture.file.partition('-')[0]}"
        image = inline(picture.data.decode(), name, _text(picture.title))
    else:
        source = f"data:image/webp;base64,{b64encode(picture.data).decode()}"
        image = f'<img src="{source}" alt="{_text(picture.title)}">'
    return f"<figure>\n{image}\n<figcaption>{_text(picture.caption)}</figcaption>\n</figure>"


def _text(text: str) -> str:
    """Fit for an element and for an attribute in double quotes; no control characters."""
    return escape(clean(text))


def markdown(blocks: Sequence[Block], folder: str) -> str:
    """The same in Markdown; `folder` holds the pictures."""
    return "\n\n".join(_markdown(block, folder) for block in blocks) + "\n"


def _markdown(block: Block, folder: str) -> str:
    match block:
        case Heading(text, level):
            return f"{'#' * level} {_plain(text)}"
        case Text(text):
            return _plain(text)
        case Facts(rows):
            return "\n".join(f"- {_plain(name)}: {_plain(value)}" for name, value in rows)
        case Table(head, rows, numbers):
            sides = ["---:" if i >= numbers else "---" for i in range(len(head))]
            lines = [[_plain(cell) for cell in row] for row in (head, *rows)]
            lines.insert(1, sides)
            return "\n".join(f"| {' | '.join(line)} |" for line in lines)
        case Picture(file, _, title, caption):
            return f"![{_plain(title)}](<{folder}/{file}>)\n\n{_plain(caption)}"


def _plain(text: str) -> str:
    """Text that Markdown reads as it stands: no markup, no HTML, no table's bar."""
    kept = re.sub(r"([\\`*_\[\]|~$])", r"\\\1", clean(text))
    return kept.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
