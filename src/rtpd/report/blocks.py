"""What a report is made of, whether it becomes HTML or Markdown. All text is plain."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Heading:
    """Level 1 is the title."""

    text: str
    level: int = 2


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
    """Names on the left, from column `numbers` on numbers on the right."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: int = 1


@dataclass(frozen=True)
class Picture:
    """A file beside the page that the page also holds: SVG or animated WebP."""

    file: str  # its name, of harmless characters
    data: bytes
    title: str
    caption: str


type Block = Heading | Text | Facts | Table | Picture
