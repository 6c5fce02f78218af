"""Blocks as Markdown: all that the page has, a folded section under its heading."""

import re
from collections.abc import Sequence

from rtpd.report.blocks import Block, Contents, Details, Facts, Heading, Picture, Table, Text
from rtpd.system.formatting import clean


def markdown(blocks: Sequence[Block], folder: str) -> str:
    """A whole page; `folder` holds the pictures."""
    return "\n\n".join(_markdown(block, folder) for block in blocks) + "\n"


def _markdown(block: Block, folder: str) -> str:
    match block:
        case Heading(text, level, anchor):
            mark = f'<a id="{anchor}"></a>\n\n' if anchor else ""
            return f"{mark}{'#' * level} {_plain(text)}"
        case Text(text):
            return _plain(text)
        case Facts(rows):
            return "\n".join(f"- {_plain(name)}: {_plain(value)}" for name, value in rows)
        case Table(head, rows):
            sides = ["---:" if block.kind(i) == "n" else "---" for i in range(len(head))]
            lines = [[_plain(cell) for cell in row] for row in (head, *rows)]
            lines.insert(1, sides)
            return "\n".join(f"| {' | '.join(line)} |" for line in lines)
        case Picture(file, _, title, caption):
            return f"![{_plain(title)}](<{folder}/{file}>)\n\n{_plain(caption)}"
        case Contents(links):
            return "\n".join(f"- [{_plain(text)}](#{anchor})" for text, anchor in links)
        case Details(heading, inner):
            return "\n\n".join(_markdown(part, folder) for part in (heading, *inner))


def _plain(text: str) -> str:
    """Text that Markdown reads as it stands: no markup, no HTML, no table's bar."""
    kept = re.sub(r"([\\`*_\[\]|~$])", r"\\\1", clean(text))
    return kept.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
