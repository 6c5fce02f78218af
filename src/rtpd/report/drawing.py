"""How figures look: one style, one colour and marker an agent, SVG that is the same every time."""

import io
import re
import textwrap
import warnings
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter

from rtpd.report.cells import REAL_TIME, SCRATCH, TWO_STAGES
from rtpd.report.naming import TAUGHT_BY, Agent
from rtpd.system.formatting import clean

INK, FAINT, PAPER = "#1a1c20", "#8a8f98", "#ffffff"
# From large agents to small ones, each lighter than the one before by as much to the eye (L* 14 to
# 59), so that they part in grey too; neighbours also differ in hue. The second row on dark pages.
COLOURS = ("#32006b", "#00316a", "#890033", "#005f27", "#a44201", "#077999", "#c54ebf", "#a88c04")
ON_DARK = ("#f2effd", "#cce1fd", "#ffbec6", "#32d96e", "#fe915e", "#11abd6", "#da61d2", "#9b8106")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h", "d", "H")


PERCENT = FuncFormatter(lambda value, _: f"{value:g} %")


class Look(NamedTuple):
    """How a thing is drawn."""

    colour: str
    marker: str
    dash: Any = "-"


# Where procedures are compared, and not agents.
PROCEDURE_LOOKS = {
    REAL_TIME: Look("#0b63a5", "o"),
    TWO_STAGES: Look("#b84300", "s", (0, (4, 1.6))),
    SCRATCH: Look("#6a3d9a", "X", (0, (1, 1.4))),
}
PROCEDURES_ON_DARK = ("#6cb6f0", "#ff9a5c", "#c9a6f5")
WIDTH, HEIGHT, ROW = 4.6, 2.9, 0.19  # inches; ROW: of a legend, below the plot
STYLE: Any = {  # matplotlib types its keys one by one
    "svg.hashsalt": "rtpd",
    "svg.fonttype": "none",  # text stays text: it can be found, copied and read aloud
    "text.parse_math": False,  # names come from run folders
    "font.family": "DejaVu Sans",  # comes with matplotlib, which lays the text out by it
    "font.size": 9,
    "figure.titlesize": 9.5,
    "figure.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.handlelength": 2.2,
    "legend.columnspacing": 1.2,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.5,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "figure.constrained_layout.use": True,
    **{f"{part}color": INK for part in ("text.", "axes.label", "axes.edge", "xtick.", "ytick.")},
}


class Palette:
    """The colour and the marker of every agent, the same in all figures, no two alike."""

    def __init__(self, agents: Sequence[Agent]) -> None:
        """Agents in their order over the whole report, the largest first."""
        many = len(agents) > len(COLOURS)  # few have colours far apart; of many they begin anew
        step = 1 if many else len(COLOURS) / max(1, len(agents))
        colours = [COLOURS[int(i * step) % len(COLOURS)] for i in range(len(agents))]
        markers = [MARKERS[i % len(MARKERS)] for i in range(len(agents))]
        self._looks = dict(zip(agents, map(Look, colours, markers), strict=True))

    def __getitem__(self, agent: Agent) -> Look:
        """The teacher is in the colour of the text."""
        return Look(INK, "*") if agent == TAUGHT_BY else self._looks[agent]


class Drawing:
    """One panel, to be drawn into and turned into SVG."""

    def __init__(self, title: str, x: str, y: str) -> None:
        """Axis labels hold the units."""
        self.title, self.height = title, HEIGHT  # in inches, without the legend
        self.figure = Figure(figsize=(WIDTH, HEIGHT))
        self.figure.suptitle(textwrap.fill(title, 62), x=0.01, ha="left")
        self.axes: Axes = self.figure.subplots()
        self.axes.set(xlabel=x, ylabel=y)

    def svg(self) -> str:
        """The whole file, on white; without a date, so that equal data give equal bytes."""
        file, nothing = io.StringIO(), dict.fromkeys(("Date", "Creator", "Format", "Type"))
        with rc_context(STYLE), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph", UserWarning)  # the page's fonts have more
            self._legend()
            for text in self.figure.findobj(Text):  # names come from run folders
                text.set_text("\n".join(map(clean, text.get_text().split("\n"))))
            self.figure.savefig(file, format="svg", metadata=nothing)
        return re.sub(r' d="[^"]*"', _shorter, file.getvalue())

    def _legend(self) -> None:
        """Below the plot, for which the figure grows: the plot keeps its room."""
        handles, names = self.axes.get_legend_handles_labels()
        if not names:
            return
        labels = [textwrap.fill(name, 52) for name in names]
        columns = 2 if max(map(len, labels)) <= 26 else 1
        lines = sum(label.count("\n") + 1 for label in labels)
        self.figure.set_size_inches(WIDTH, self.height + ROW * -(-lines // columns))
        place: Any = {"loc": "outside lower left", "ncols": columns, "fontsize": 8.5}
        self.figure.legend(handles, labels, **place)


@contextmanager
def drawing(title: str, x: str, y: str) -> Generator[Drawing]:
    """A panel in the style of the report."""
    with rc_context(STYLE):
        yield Drawing(title, x, y)


def _shorter(path: re.Match[str]) -> str:
    """Coordinates to a tenth of a point: fewer bytes."""
    return re.sub(r"(\.\d)\d+", r"\1", path[0])


def _named_colours() -> dict[str, tuple[str, str]]:
    """By the name of its variable: the colour on light and on dark pages."""
    agents = zip(COLOURS, ON_DARK, strict=True)
    looks = [look.colour for look in PROCEDURE_LOOKS.values()]
    pairs = (*agents, *zip(looks, PROCEDURES_ON_DARK, strict=True))
    return {f"c{i}": pair for i, pair in enumerate(pairs)}


def variables() -> str:
    """The colours of agents for the page's style sheet."""
    light, dark = ("".join(f"--{name}:{pair[i]};" for name, pair in _named_colours().items())
                   for i in range(2))  # fmt: skip
    return f":root{{{light}}}@media (prefers-color-scheme:dark){{:root{{{dark}}}}}\n"


def inline(svg: str, name: str, label: str) -> str:
    """The SVG for a page: ids of its own, colours of the page, a label for screen readers.

    `name` and `label` must be fit for an attribute already.
    """
    body = svg[svg.index("<svg") :]
    body = re.sub(r'(\sid="|url\(#|href="#)', rf"\g<1>{name}-", body)
    known = {INK: "ink", FAINT: "faint", PAPER: "card"}
    known |= {pair[0]: variable for variable, pair in _named_colours().items()}
    body = re.sub(
        r": (#[0-9a-f]{6})",
        lambda m: f": var(--{known[m[1]]})" if m[1] in known else m[0],
        body,
    )
    return body.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)
