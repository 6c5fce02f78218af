"""What a report is made of, whether it becomes HTML or Markdown. All text is plain."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Heading:
    """Level 1 is the title; links lead to the `anchor`, of harmless characters."""

    text: str
    level: int = 2
    anchor: str = ""


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Facts:
    """Names with their values."""

    rows: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Table:
    """Names on the left, the first of which stays in sight; numbers; then perhaps words."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: int = 1  # from this column on
    title: str = ""  # read aloud
    words: int = 0  # so many columns at the end

    def kind(self, column: int) -> str:
        """Whether a column has numbers ("n"), words after them ("w"), or names ("")."""
        if column < self.numbers:
            return ""
        return "n" if column < len(self.head) - self.words else "w"

    def without_empty(self) -> "Table":
        """Without columns of which no row knows anything."""
        known = [any(row[i] not in ("", "-") for row in self.rows) for i in range(len(self.head))]
        keep = [i for i, some in enumerate(known) if some or i == 0]
        rows = tuple(tuple(row[i] for i in keep) for row in self.rows)
        ends = (
            sum(i < self.numbers for i in keep),
            sum(i >= len(known) - self.words for i in keep),
        )
        return Table(tuple(self.head[i] for i in keep), rows, ends[0], self.title, ends[1])


@dataclass(frozen=True)
class Picture:
    """A file beside the page that the page also holds: SVG or animated WebP."""

    file: str  # its name, of harmless characters
    data: bytes
    title: str
    caption: str
    instead: str  # of the picture, for who cannot see it: what it shows, in words


@dataclass(frozen=True)
class Contents:
    """Links to headings of this page, in their order."""

    links: tuple[tuple[str, str], ...]  # text, anchor


@dataclass(frozen=True)
class Details:
    """A section that folds away under its heading."""

    heading: Heading
    blocks: tuple["Block", ...]
    unfolded: bool = False


type Block = Heading | Text | Facts | Table | Picture | Contents | Details


def flatten(blocks: Iterable[Block]) -> Iterator[Block]:
    """All blocks, a folded section's own after its heading."""
    for block in blocks:
        if isinstance(block, Details):
            yield block.heading
            yield from flatten(block.blocks)
        else:
            yield block
