"""Figures over training: returns, and what students keep of their teacher's advantage."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter

from rtpd.report.cells import SCRATCH, TWO_STAGES, Cell
from rtpd.report.drawing import FAINT, PERCENT, PROCEDURE_LOOKS, Drawing, Palette, drawing
from rtpd.report.naming import TAUGHT_BY, Agent
from rtpd.report.study import Study
from rtpd.report.trials import Curve, Trial

SMOOTH = 9  # lines of training in a moving average, of a quarter of them at most
POINTS = 200  # of a curve at most
LINES = 8  # in a figure at most: more cannot be told apart


class Course(NamedTuple):
    """Seeds on one grid of agent steps."""

    steps: Float[np.ndarray, " T"]
    values: Float[np.ndarray, "S T"]

    @property
    def mean(self) -> Float[np.ndarray, " T"]:
        """Over seeds."""
        return self.values.mean(axis=0)

    def band(self) -> Float[np.ndarray, "2 T"] | None:
        """The 95 % bootstrap interval of the mean at each step; None of a single seed."""
        seeds = len(self.values)
        if seeds < 2:
            return None
        drawn = np.random.default_rng(0).integers(seeds, size=(1000, seeds))
        return np.percentile(self.values[drawn].mean(axis=1), [2.5, 97.5], axis=0)

    def smooth(self) -> "Course":
        """Means of SMOOTH points in a row."""
        width = min(SMOOTH, len(self.steps) // 4)
        if width < 2:
            return self
        kernel = np.ones(width) / width
        rows = [np.convolve(row, kernel, "valid") for row in self.values]
        return Course(np.convolve(self.steps, kernel, "valid"), np.array(rows))


def common(curves: Sequence[Curve]) -> Course | None:
    """Curves of several seeds on the steps of the coarsest, within what all have seen.

    Between its evaluations a seed is taken to go straight. None if that is no step at all.
    """
    known = [curve for curve in curves if curve.steps]
    if not known:
        return None
    low, high = max(c.steps[0] for c in known), min(c.steps[-1] for c in known)
    coarse = min(known, key=lambda curve: len(curve.steps)).steps
    grid = np.unique([low, high, *(step for step in coarse if low <= step <= high)])
    if low > high:
        return None
    if len(grid) > POINTS:
        grid = np.linspace(low, high, POINTS)
    return Course(grid, np.array([np.interp(grid, c.steps, c.values) for c in known]))


class Line(NamedTuple):
    """One agent of one cell."""

    cell: Cell
    agent: Agent
    course: Course


def courses(cells: Sequence[Cell], study: Study) -> list[Line]:
    """Evaluated returns of what learnt in these cells, where they were evaluated twice."""
    lines = []
    for cell in cells:
        for agent in cell.members:
            if agent == TAUGHT_BY and cell.procedure == TWO_STAGES:  # it does not learn
                continue
            curves = [_shifted(t, cell.within(agent), study) for t in cell.members[agent]]
            course = common(curves)
            if course is not None and len(course.steps) > 1:
                lines.append(Line(cell, agent, course))
    return lines


def returns(title: str, lines: Sequence[Line], palette: Palette) -> Drawing:
    """Evaluated returns against agent steps."""
    first, cells = lines[0].cell, [line.cell for line in lines]
    with drawing(title, _steps(first), "mean return of an evaluation") as panel:
        for line in lines:
            _draw(panel.axes, line, palette, _label(line, cells), every=1)
        if first.knows_random:
            base = first.random_score
            panel.axes.axhline(base, color=FAINT, lw=1, ls=":", label="random play")
        panel.axes.set_xlim(left=0)
    return panel


def kept(cells: Sequence[Cell]) -> list[Line]:
    """What students keep of their teacher's advantage, smoothed, where lines of training tell."""
    lines = []
    for cell in cells:
        for agent in cell.learners if cell.procedure != SCRATCH else ():
            course = common([_kept(trial, agent) for trial in cell.members[agent]])
            if course is not None and len(course.steps) > 1:
                lines.append(Line(cell, agent, course.smooth()))
    return lines


def advantage(title: str, lines: Sequence[Line], palette: Palette) -> Drawing:
    """What students keep of their teacher's advantage, beside the best constant action."""
    with drawing(title, _steps(lines[0].cell), "teacher's advantage kept") as panel:
        for line in lines:
            label = f"{line.agent.label} ({line.cell.name})" if line.cell.name else line.agent.label
            _draw(panel.axes, line, palette, label, every=max(1, len(line.course.steps) // 8))
        constant = common([c for line in lines for c in _constant(line)])
        if constant is not None and len(constant.steps) > 1:
            smooth = constant.smooth()
            panel.axes.plot(smooth.steps, smooth.mean, color=FAINT, lw=1.2, ls=":",
                            label="one constant action")  # fmt: skip
        bottom = min(0.0, *(line.course.mean.min() for line in lines))
        panel.axes.set(xlim=(0, None), ylim=(max(-100.0, bottom), 102))
        panel.axes.yaxis.set_major_formatter(PERCENT)
    return panel


def final_advantage(cell: Cell, agent: Agent) -> float | None:
    """% that a student kept over the last tenth of the lines of training, on the mean of seeds."""
    if agent == TAUGHT_BY or cell.procedure == SCRATCH:
        return None
    curves = [_kept(trial, agent).values for trial in cell.members[agent]]
    means = [float(np.mean(row[-max(1, len(row) // 10) :])) for row in curves if row]
    return float(np.mean(means)) if means else None


def chosen(lines: Sequence[Line]) -> list[Line]:
    """At most LINES: the teacher, then those of most seeds, plain nets first.

    Of an agent in several settings of a procedure the first by that order: they look the same.
    """

    def rank(line: Line) -> tuple[bool, int, bool, float]:
        best = -line.cell.results[line.agent].mean.value
        return line.agent != TAUGHT_BY, -len(line.course.values), bool(line.agent.how), best

    first: dict[tuple[Agent, str], Line] = {}
    for line in sorted(lines, key=rank):
        first.setdefault((line.agent, line.cell.procedure), line)
    kept = [*first.values()][:LINES]
    return [line for line in lines if any(line is other for other in kept)]


def _draw(axes: Axes, line: Line, palette: Palette, label: str, every: int) -> None:
    look, dash = palette[line.agent], PROCEDURE_LOOKS[line.cell.procedure].dash
    order = 3 if line.agent == TAUGHT_BY else 2.5
    axes.plot(line.course.steps, line.course.mean, color=look.colour, marker=look.marker, ls=dash,
              markevery=every, label=label, zorder=order)  # fmt: skip
    if (band := line.course.band()) is not None:
        axes.fill_between(line.course.steps, *band, color=look.colour, alpha=0.13, lw=0)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))


def _label(line: Line, cells: Sequence[Cell]) -> str:
    """The agent, with its procedure where the figure has several."""
    several = len({cell.procedure for cell in cells}) > 1 and line.agent != TAUGHT_BY
    same = {cell.name for cell in cells if cell.procedure == line.cell.procedure}
    words = [line.cell.procedure] if several else []
    words += [line.cell.name] if len(same) > 1 and line.cell.name else []
    return f"{line.agent.label} ({', '.join(words)})" if words else line.agent.label


def _shifted(trial: Trial, agent: Agent, study: Study) -> Curve:
    """A curve of evaluations; of two stages it begins where its teacher's training ended."""
    curve, taught = trial.curve(agent), study.sources.get(trial.run.path)
    before = (taught.manifest.step or taught.reach) if taught else 0
    return curve._replace(steps=[step + before for step in curve.steps])


def _kept(trial: Trial, agent: Agent) -> Curve:
    return trial.training_curve(agent, lambda row: _percent(row.advantage_kept))


def _percent(value: float | None) -> float | None:
    return None if value is None else 100 * value


def _constant(line: Line) -> list[Curve]:
    trials = line.cell.members[line.agent]
    return [
        t.training_curve(line.agent, lambda row: _percent(row.constant_advantage_kept))
        for t in trials
    ]


def _steps(cell: Cell) -> str:
    frames = cell.trials[0].run.manifest.frames_per_step
    return f"agent steps ({frames} frames each)" if frames and frames > 1 else "agent steps"
