"""The figures of a report, each of one game or over all of them, as SVG."""

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, PercentFormatter

from rtpd.report import stats
from rtpd.report.cells import TEACHER, Cell, Curve
from rtpd.report.drawing import FAINT, INK, MARKERS, PAPER, Drawing, Palette, drawing

SMOOTH = 9  # lines of training in a moving average, of a quarter of them at most


def returns(cell: Cell, palette: Palette, *, minutes: bool) -> Drawing:
    """Evaluated return of every agent against agent steps, or against wall minutes."""
    with drawing(_title(cell), _time_label(cell, minutes), "mean return of an evaluation") as panel:
        axes = panel.axes
        for name in cell.agents:
            curves = [trial.curve(name) for trial in cell.trials]
            _course(axes, cell.game, curves, name, palette, minutes=minutes)
        if cell.knows_random:
            axes.axhline(cell.random_score, color=FAINT, lw=1, ls=":", label="random play")
        if not minutes:
            axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.set_xlim(left=0)
    return panel


def _course(
    axes: Axes, game: str, curves: Sequence[Curve], agent: str, palette: Palette, *, minutes: bool
) -> None:
    """A thin line a seed; their mean where all have been evaluated, with its interval."""
    colour, marker = palette[agent]
    zorder = 3 if agent == TEACHER else 2.5
    if len(curves) > 1:
        for curve in curves:
            x = np.array(curve.seconds) / 60 if minutes else curve.steps
            axes.plot(x, curve.values, color=colour, lw=0.7, alpha=0.4, zorder=zorder)
    x, rows = common(curves, minutes=minutes)
    points = [stats.estimate(stats.mean, {game: row}) for row in rows]
    style: dict[str, Any] = {"color": colour, "marker": marker, "label": agent, "zorder": zorder}
    axes.plot(x, [p.value for p in points], **style)
    if len(curves) > 1 and points:
        low, high = zip(*((p.interval or (p.value, p.value)) for p in points), strict=True)
        axes.fill_between(x, low, high, color=colour, alpha=0.15, lw=0)


def common(curves: Sequence[Curve], *, minutes: bool) -> tuple[list[float], list[list[float]]]:
    """Where all seeds have a value: the steps (or their mean minutes), and every seed's value."""
    tables = [{step: (seconds, y) for step, seconds, y in zip(*c, strict=True)} for c in curves]
    steps = sorted(set.intersection(*(set(table) for table in tables)))
    times = [float(np.mean([t[step][0] for t in tables])) / 60 for step in steps]
    return (times if minutes else [*steps]), [[t[step][1] for t in tables] for step in steps]


def advantage(cell: Cell, palette: Palette) -> Drawing | None:
    """What students keep of their teacher's advantage, smoothed; None if no line tells of it."""
    with drawing(_title(cell), _time_label(cell, False), "teacher's advantage kept") as panel:
        for name in cell.students:
            curves = [
                trial.training_curve(name, lambda row: row.advantage_kept) for trial in cell.trials
            ]
            x, y = _smooth(*common(curves, minutes=False))
            for curve in curves:
                axes = panel.axes.plot(curve.steps, curve.values, color=palette[name][0])
                axes[0].set(lw=0.5, alpha=0.3)
            panel.axes.plot(x, y, color=palette[name][0], label=name)
        both = [(trial, name) for trial in cell.trials for name in cell.students]
        constant = [
            trial.training_curve(name, lambda row: row.constant_advantage_kept)
            for trial, name in both
        ]
        if not any(curve.steps for curve in constant):
            return None
        x, y = _smooth(*common(constant, minutes=False))
        panel.axes.plot(x, y, color=FAINT, lw=1.2, ls=":", label="one constant\naction")
        panel.axes.set(xlim=(0, None), ylim=(min(0.0, *y), 1.02))
        panel.axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        panel.axes.yaxis.set_major_formatter(PercentFormatter(1))
    return panel


def _smooth(x: Sequence[float], rows: list[list[float]]) -> tuple[np.ndarray, np.ndarray]:
    """Mean over seeds, then over SMOOTH lines in a row."""
    means, width = np.array([np.mean(row) for row in rows]), min(SMOOTH, len(rows) // 4)
    if width < 2:
        return np.array(x), means
    kernel = np.ones(width) / width
    return np.convolve(x, kernel, "valid"), np.convolve(means, kernel, "valid")


COSTS = {"parameters": "parameters", "multiply_adds": "multiply-adds a step"}


def sizes(
    game: str, cells: Sequence[Cell], palette: Palette, cost: Literal["parameters", "multiply_adds"]
) -> Drawing | None:
    """Cost against % of teacher, with the Pareto front; None if no share or no cost is known."""
    found = []
    with drawing(_name(game), COSTS[cost], "final return, % of teacher") as panel:
        axes = panel.axes
        for cell, marker in zip(cells, _cycle(len(cells)), strict=True):
            for name, about in cell.agents.items():
                percents, size = cell.percents(name), getattr(about, cost)
                if (
                    not percents
                    or not size
                    or (name == TEACHER and cell.two_stage and len(cells) > 1)
                ):
                    continue
                share = stats.estimate(stats.mean, {game: percents})
                found.append((size, share.value, name))
                look: dict[str, Any] = {
                    "color": palette[name][0],
                    "marker": marker,
                    "ls": "none",
                    "ms": 7,
                }
                axes.plot(size, share.value, **look, mec=PAPER, zorder=3)
                if share.interval and name != TEACHER:
                    axes.vlines(size, *share.interval, color=look["color"], lw=1)
        if not any(name != TEACHER for *_, name in found):
            return None
        front = pareto([point[:2] for point in found])
        axes.step(*zip(*front, strict=True), where="post", color=FAINT, lw=1.2, zorder=1)
        _label(axes, found)
        axes.axhline(95, color=FAINT, lw=0.9, ls=":")
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.yaxis.set_major_formatter(PercentFormatter(100))
        axes.margins(x=0.12, y=0.15)
        if len(cells) > 1:
            _setting_legend(axes, cells)
    return panel


def pareto(points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points (size, score) that no other beats with as few parameters, smallest first."""
    front: list[tuple[float, float]] = []
    for size, score in sorted(points, key=lambda p: (p[0], -p[1])):
        if not front or score > front[-1][1]:
            front.append((size, score))
    return front


def _label(axes: Axes, found: Sequence[tuple[int, float, str]]) -> None:
    """Each agent's name once, in turns above and below its points, so that neighbours part."""
    for i, name in enumerate(
        sorted(
            {point[2] for point in found},
            key=lambda n: min(point[0] for point in found if point[2] == n),
        )
    ):
        own = [point[:2] for point in found if point[2] == name]
        size, score = own[0][0], (min if i % 2 else max)(score for _, score in own)
        away: dict[str, Any] = {
            "xytext": (0, -8 if i % 2 else 8),
            "va": "top" if i % 2 else "bottom",
        }
        axes.annotate(
            name, (size, score), **away, textcoords="offset points", ha="center", fontsize=8.5
        )


def waits(game: str, rows: Sequence[tuple[str, str, float, float | None]]) -> Drawing:
    """Wall minutes until a student is an expert, by student and setting.

    `rows` are (setting, student, minutes, minutes with those of the teacher before).
    """
    settings = sorted({row[0] for row in rows})
    students = list(dict.fromkeys(row[1] for row in rows))[::-1]
    with drawing(_name(game), "wall minutes of training", "") as panel:
        marks = dict(zip(settings, _cycle(len(settings)), strict=True))
        for setting, student, alone, whole in rows:
            y = students.index(student) + 0.16 * (settings.index(setting) - (len(settings) - 1) / 2)
            look: dict[str, Any] = {"color": INK, "marker": marks[setting], "ms": 6, "ls": "none"}
            panel.axes.plot(alone, y, **look, mfc=PAPER if whole is not None else INK)
            if whole is not None:
                panel.axes.plot(whole, y, **look)
                panel.axes.hlines(y, alone, whole, color=FAINT, lw=1, zorder=1)
        panel.axes.set(yticks=range(len(students)), yticklabels=students, xlim=(0, None))
        panel.axes.set_ylim(-0.7, len(students) - 0.3)
        panel.axes.margins(x=0.08)
        for setting in settings:
            shape: dict[str, Any] = {"color": INK, "marker": marks[setting], "ms": 6, "ls": "none"}
            panel.axes.plot([], [], **shape, label=_wrap(setting))
    return panel


def median_minutes(seconds: Sequence[float]) -> float:
    """For the figure of waits."""
    return float(np.median(seconds)) / 60


def profile(
    setting: str, curves: dict[str, list[stats.Estimate]], taus: Sequence[float], palette: Palette
) -> Drawing:
    """Share of runs above each share of the teacher, over games."""
    with drawing(setting, "% of teacher", "share of runs above it") as panel:
        for name, points in curves.items():
            colour = palette[name][0]
            panel.axes.plot(taus, [p.value for p in points], color=colour, label=name)
            if all(p.interval for p in points):
                low, high = zip(*(p.interval for p in points if p.interval), strict=True)
                panel.axes.fill_between(taus, low, high, color=colour, alpha=0.15, lw=0)
        panel.axes.set(ylim=(0, 1.02), xlim=(taus[0], taus[-1]))
        panel.axes.yaxis.set_major_formatter(PercentFormatter(1))
        panel.axes.xaxis.set_major_formatter(PercentFormatter(100))
    return panel


def _setting_legend(axes: Axes, cells: Sequence[Cell]) -> None:
    for cell, marker in zip(cells, _cycle(len(cells)), strict=True):
        handle: dict[str, Any] = {"color": FAINT, "marker": marker, "ls": "none", "ms": 6}
        axes.add_line(Line2D([], [], **handle, label=_wrap(cell.setting)))


def _cycle(count: int) -> list[str]:
    return [MARKERS[i % len(MARKERS)] for i in range(count)]


def _name(game: str) -> str:
    return game.removeprefix("ale/")


def _title(cell: Cell) -> str:
    return f"{_name(cell.game)}: {cell.setting}"


def _time_label(cell: Cell, minutes: bool) -> str:
    frames = cell.trials[0].run.manifest.frames_per_step
    steps = f"agent steps ({frames} frames each)" if frames and frames > 1 else "agent steps"
    return "wall minutes of training" if minutes else steps


def _wrap(text: str) -> str:
    return text.replace(", ", "\n")
