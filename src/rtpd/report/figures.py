"""Figures of final returns: size against score, time to expert, performance profiles."""

import textwrap
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter

from rtpd.report import stats
from rtpd.report.cells import EXPERT, PROCEDURES, REAL_TIME, SCRATCH, TWO_STAGES, Cell
from rtpd.report.drawing import (
    FAINT,
    HEIGHT,
    INK,
    PAPER,
    PERCENT,
    PROCEDURE_LOOKS,
    Drawing,
    Palette,
    drawing,
)
from rtpd.report.naming import TAUGHT_BY, Agent
from rtpd.report.words import game_name

ORDER = {REAL_TIME: 5, TWO_STAGES: 4, SCRATCH: 3, None: 3}  # what covers what


class Point(NamedTuple):
    """An agent of one setting, or over games, by size and score."""

    name: str
    procedure: str | None  # None: a teacher
    size: float  # % of the teacher's parameters
    score: float  # % of the teacher
    interval: tuple[float, float] | None
    learnt: bool  # can be told from random play: what cannot is on no front


def points(cells: Sequence[Cell]) -> list[Point]:
    """Every agent of a game, by % of its best teacher; nothing if no teacher has learnt."""
    found = []
    kinds = {cell.procedure for cell in cells}
    for cell in cells:
        for agent in cell.members:
            scores, best = cell.of_best(agent), cell.best
            # The teacher of another cell, which stands there.
            frozen = agent == TAUGHT_BY and cell.procedure != REAL_TIME and REAL_TIME in kinds
            sized = best is not None and best.parameters
            if not scores or not sized or frozen:
                continue
            score = stats.estimate(stats.mean, {cell.game: scores})
            size = 100 * cell.results[agent].about.parameters / sized
            procedure = None if agent == TAUGHT_BY else cell.procedure
            learnt = cell.learnt(agent)
            found.append(Point(agent.label, procedure, size, *score, learnt))
    return found


def front_of(found: Iterable[Point]) -> list[Point]:
    """Of what has learnt, the points that nothing as small beats, the smallest first."""
    front: list[Point] = []
    for point in sorted(found, key=lambda p: (p.size, -p.score)):
        if point.learnt and (not front or point.score > front[-1].score):
            front.append(point)
    return front


def sizes(
    title: str,
    found: Sequence[Point],
    y: str,
    theirs: Sequence[Point] = (),
    games: Sequence[tuple[float, float]] = (),
) -> Drawing | None:
    """Size against score with the Pareto front.

    `theirs` are of the literature, `games` the sizes and scores that `found` are means of. None
    where there is no agent beside a teacher, or a single dot.
    """
    if len(found) < 2 or all(point.procedure is None for point in found):
        return None
    with drawing(title, "parameters, % of the teacher's", y) as panel:
        axes, front = panel.axes, front_of(found)
        if games:
            axes.plot(*zip(*games, strict=True), color=FAINT, marker="o", ls="none", ms=3.5,
                      alpha=0.6, mew=0, label="one game", zorder=2)  # fmt: skip
        for procedure in (None, *PROCEDURES):
            rows = [point for point in found if point.procedure == procedure]
            if rows:
                _dots(axes, rows, procedure)
        if theirs:
            style: dict[str, Any] = {"marker": "P", "ms": 6, "ls": "none", "mfc": PAPER}
            xs, ys = [p.size for p in theirs], [p.score for p in theirs]
            axes.plot(xs, ys, color=INK, label="Rusu et al. 2015", **style)
        axes.step([p.size for p in front], [p.score for p in front], where="post",
                  color=FAINT, lw=1.1, zorder=1)  # fmt: skip
        axes.axhline(EXPERT, color=FAINT, lw=0.9, ls=":")
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(PERCENT)
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_major_formatter(PERCENT)
        axes.margins(x=0.1, y=0.14)
        _label(axes, [point for point in front if point.procedure])
    return panel


def _dots(axes: Axes, rows: Sequence[Point], procedure: str | None) -> None:
    look = PROCEDURE_LOOKS.get(procedure or "")
    colour, marker = (look.colour, look.marker) if look else (INK, "*")
    for point in rows:
        if point.interval and point.procedure:
            axes.vlines(point.size, *point.interval, color=colour, lw=1, alpha=0.6)
    xs, ys = [p.size for p in rows], [p.score for p in rows]
    axes.plot(xs, ys, color=colour, marker=marker, ls="none", ms=6.5 if look else 9, mec=PAPER,
              mew=0.7, label=procedure or "teacher", zorder=ORDER[procedure])  # fmt: skip


def _label(axes: Axes, front: Sequence[Point]) -> None:
    """The names on the front, above it to the left, where by its nature nothing stands.

    Each at its point's height, or above the name before.
    """
    (low, high), (bottom, top) = axes.get_xbound(), axes.get_ybound()
    axes.set_ylim(bottom, top + 0.12 * (top - bottom))
    height, above = 72 * HEIGHT * 0.7, 0.0  # of the plot in points, roughly
    for point in front:
        text = textwrap.fill(textwrap.shorten(point.name, 44, placeholder=" ..."), 24)
        at = height * (point.score - bottom) / (top - bottom)
        raised = max(at + 3, above)
        above = raised + 10 * (text.count("\n") + 1)
        first = point.size < low * (high / low) ** 0.3
        axes.annotate(
            text, (point.size, point.score), textcoords="offset points", fontsize=8,
            xytext=(-4 if first else -5, raised - at), va="bottom", ha="left" if first else "right",
            bbox={"fc": PAPER, "ec": "none", "alpha": 0.75, "pad": 0.4},
        ).set_in_layout(False)  # fmt: skip


class Wait(NamedTuple):
    """Wall minutes until an agent is an expert."""

    name: str
    procedure: str
    alone: float
    whole: float | None  # with those of the teacher before; None: not known


def waits(game: str, rows: Sequence[Wait]) -> Drawing | None:
    """Wall minutes until agents are experts; None for a single dot."""
    if len(rows) < 2:
        return None
    title = f"{game_name(game)}: time to {EXPERT:g} % of the teacher"
    names = list(dict.fromkeys(row.name for row in rows))
    ticks = [textwrap.fill(textwrap.shorten(name, 70, placeholder=" ..."), 26) for name in names]
    with drawing(title, "wall minutes of training", "") as panel:
        panel.height = 1.0 + sum(0.12 + 0.16 * (tick.count("\n") + 1) for tick in ticks)
        for row in rows:
            look = PROCEDURE_LOOKS[row.procedure]
            y = -names.index(row.name)
            end = row.alone if row.whole is None else row.whole
            shape: dict[str, Any] = {
                "color": look.colour,
                "marker": look.marker,
                "ls": "none",
                "ms": 6,
            }
            if row.whole is not None:
                panel.axes.plot(row.alone, y, mfc=PAPER, **shape)
                panel.axes.hlines(y, row.alone, end, color=look.colour, lw=1, zorder=1)
            panel.axes.plot(end, y, **shape)
        for procedure in dict.fromkeys(row.procedure for row in rows):
            look = PROCEDURE_LOOKS[procedure]
            panel.axes.plot([], [], color=look.colour, marker=look.marker, ls="none", ms=6,
                            label=procedure)  # fmt: skip
        panel.axes.set(yticks=[-i for i in range(len(names))], yticklabels=ticks, xlim=(0, None))
        panel.axes.set_ylim(0.5 - len(names), 0.5)
        panel.axes.margins(x=0.08)
    return panel


def profile(
    title: str,
    curves: Sequence[tuple[str, str, Agent, list[stats.Estimate]]],
    taus: Sequence[float],
    palette: Palette,
) -> Drawing:
    """Share of runs above each share of the teacher: (label, procedure, agent, estimates)."""
    with drawing(title, "% of teacher", "share of runs above it") as panel:
        for label, procedure, agent, found in curves:
            look, ys = palette[agent], [100 * p.value for p in found]
            style: dict[str, Any] = {"color": look.colour, "ls": PROCEDURE_LOOKS[procedure].dash}
            panel.axes.plot(taus, ys, label=label, marker=look.marker, markevery=6, **style)
            if all(p.interval for p in found):
                ends = np.transpose([p.interval for p in found if p.interval])
                panel.axes.fill_between(taus, *(100 * ends), color=look.colour, alpha=0.15, lw=0)
        panel.axes.set(ylim=(0, 102), xlim=(taus[0], taus[-1]))
        panel.axes.yaxis.set_major_formatter(PERCENT)
        panel.axes.xaxis.set_major_formatter(PERCENT)
    return panel
