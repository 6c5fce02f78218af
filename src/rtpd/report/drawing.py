"""How figures look: one style, one colour an agent, SVG that is the same every time."""

import io
import re
import textwrap
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from rtpd.report.cells import TEACHER
from rtpd.system.formatting import clean

INK, FAINT, PAPER = "#1a1c20", "#8a8f98", "#ffffff"
# Okabe & Ito 2008, told apart by most colour-blind people, without the yellow and the black.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MARKERS = "osD^vPX<>p"
STYLE: Any = {  # matplotlib types its keys one by one
    "svg.hashsalt": "rtpd",
    "svg.fonttype": "none",  # text stays text: it can be found, copied and read aloud
    "text.parse_math": False,  # names come from run folders
    "font.family": "DejaVu Sans",  # comes with matplotlib, which lays the text out by it
    "font.size": 9.5,
    "figure.titlesize": 10,
    "figure.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.handlelength": 1.6,
    "lines.linewidth": 1.8,
    "lines.markersize": 4,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "figure.constrained_layout.use": True,
    **{f"{part}color": INK for part in ("text.", "axes.label", "axes.edge", "xtick.", "ytick.")},
}


class Palette:
    """The colour and the marker of every agent, the same in all figures."""

    def __init__(self, students: Sequence[str]) -> None:
        """Students in their order over the whole report; the seventh begins anew."""
        self.students = tuple(students)
        self._looks = {name: (COLOURS[i % 6], MARKERS[i % 10]) for i, name in enumerate(students)}

    def __getitem__(self, agent: str) -> tuple[str, str]:
        """(colour, marker); the teacher is in the colour of the text."""
        return (INK, "*") if agent == TEACHER else self._looks[agent]


class Drawing:
    """One panel, to be drawn into and turned into SVG."""

    def __init__(self, title: str, x: str, y: str) -> None:
        """Axis labels hold the units."""
        self.title = title
        self.figure = Figure(figsize=(5.6, 3.5))
        self.figure.suptitle(textwrap.fill(title, 72), x=0.01, ha="left")
        self.axes: Axes = self.figure.subplots()
        self.axes.set(xlabel=x, ylabel=y)

    def svg(self) -> str:
        """The whole file, on white; without a date, so that equal data give equal bytes."""
        file, nothing = io.StringIO(), dict.fromkeys(("Date", "Creator", "Format", "Type"))
        with rc_context(STYLE):
            if self.axes.get_legend_handles_labels()[1]:
                self.axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.02), fontsize=8.5)
            for text in self.figure.findobj(Text):  # names come from run folders
                text.set_text("\n".join(map(clean, text.get_text().split("\n"))))
            self.figure.savefig(file, format="svg", metadata=nothing)
        return re.sub(r' d="[^"]*"', _shorter, file.getvalue())


@contextmanager
def drawing(title: str, x: str, y: str) -> Generator[Drawing]:
    """A panel in the style of the report."""
    with rc_context(STYLE):
        yield Drawing(title, x, y)


def _shorter(path: re.Match[str]) -> str:
    """Coordinates to a hundredth of a point: half the bytes."""
    return re.sub(r"(\.\d\d)\d+", r"\1", path[0])


def inline(svg: str, name: str, label: str) -> str:
    """The SVG for a page: ids of its own, colours of the page, a label for screen readers.

    `name` and `label` must be fit for an attribute already.
    """
    body = svg[svg.index("<svg") :]
    body = re.sub(r'(\sid="|url\(#|href="#)', rf"\g<1>{name}-", body)
    for colour, variable in ((INK, "ink"), (FAINT, "faint"), (PAPER, "card")):
        body = body.replace(f": {colour}", f": var(--{variable})")
    return body.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)
