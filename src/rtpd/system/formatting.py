"""How numbers, times and tables look to a person.

Absent, null and non-finite values show as "-". Foreign text goes through `clean` into `Text`: what
it holds is read neither as markup nor as control codes.
"""

import io
import math
import os
from collections.abc import Iterable, Mapping
from typing import Any, TextIO

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rtpd.errors import clean

Row = Mapping[str, Any]
WIDE = 1000  # characters, where nobody looks


def show(value: float | None, form: str = ",.0f", unit: str = "") -> str:
    """A number with thousands separators and its unit, or "-" where there is none."""
    return f"{value:z{form}}{unit}" if value is not None and math.isfinite(value) else "-"


def count(number: float | None, noun: str) -> str:
    """A number of things: "1 episode", "30 episodes"."""
    return f"{show(number)} {noun}{'' if number == 1 else 's'}"


def percent(fraction: float | None, form: str = ".0f") -> str:
    """A fraction as a percentage, or "-"."""
    return show(None if fraction is None else 100 * fraction, form, " %")


def share(fraction: float | None) -> str:
    """Parameters as a percentage of the teacher's, three digits."""
    return percent(fraction, ".0f" if fraction is None or fraction >= 1 else ".3g")


def score(row: Row) -> str:
    """Mean return and its standard error."""
    mean, error = show(row.get("mean"), ",.1f"), show(row.get("standard_error"), ",.1f")
    return mean if "-" in (mean, error) else f"{mean} ± {error}"


def duration(seconds: float | None) -> str:
    """Seconds as "45 s", "12 min 30 s" or "3 h 5 min"."""
    if seconds is None or not math.isfinite(seconds):
        return "-"
    minutes, rest = divmod(round(max(seconds, 0)), 60)
    hours, minutes = divmod(minutes, 60)
    parts = ((hours, "h"), (minutes, "min"), (0 if hours else rest, "s"))
    return " ".join(f"{n} {unit}" for n, unit in parts if n) or "0 s"


def eta_text(seconds: float | None) -> str:
    """A remaining time, without seconds from ten minutes on: they would only flicker."""
    return duration(seconds if seconds is None or seconds < 600 else seconds // 60 * 60)


def plain_table(headers: Iterable[str], title: str | None = None) -> Table:
    """A borderless table: names left, numbers right, nothing cut off (long cells fold)."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="dim")
    table.padding, table.title_justify = (0, 1, 0, 0), "left"
    table.title = None if title is None else Text(clean(title), "bold")
    for i, header in enumerate(headers):
        side = "right" if i else "left"
        table.add_column(Text(header), justify=side, overflow="fold", vertical="bottom")
    return table


def add_row(table: Table, cells: Iterable[object], style: str = "") -> None:
    """Add cells of foreign text."""
    table.add_row(*(Text(clean(cell)) for cell in cells), style=style)


def terminal(stream: TextIO) -> Console:
    """A console that writes to `stream`, and "?" for what its encoding lacks."""
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="replace")
    tty = stream.isatty()
    # A file or a pipe has no width, so nothing is folded there.
    width = None if tty or "COLUMNS" in os.environ else WIDE
    return Console(
        file=stream, force_terminal=tty, width=width, highlight=False, emoji=False, markup=False
    )
