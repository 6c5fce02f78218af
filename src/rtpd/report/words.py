"""How a report says numbers."""

from collections.abc import Sequence

import numpy as np

from rtpd.report import stats
from rtpd.report.cells import Cell, Trial
from rtpd.system.formatting import duration, show


def interval(estimate: stats.Estimate, seeds: int, form: str = ",.1f") -> str:
    """The 95 % interval over seeds; of one seed there is none."""
    if estimate.interval is None:
        return "- (1 seed)" if seeds == 1 else "-"
    low, high = estimate.interval
    return f"{show(low, form)} to {show(high, form)}"


def with_interval(estimate: stats.Estimate | None, form: str = ",.1f") -> str:
    """A number and its interval."""
    if estimate is None:
        return "-"
    both = estimate.interval
    tail = f" ({show(both[0], form)} to {show(both[1], form)})" if both else ""
    return show(estimate.value, form) + tail


def middle(values: Sequence[float], say: str) -> str:
    """The median of what several seeds took, with the range; `say` is "steps" or "time"."""

    def one(value: float) -> str:
        return duration(value) if say == "time" else show(value)

    if not values:
        return "-"
    if len(values) == 1:
        return one(values[0])
    return f"{one(float(np.median(values)))} ({one(min(values))} to {one(max(values))})"


def seeds(cell: Cell) -> str:
    """The seeds of a cell; what has not finished is marked."""
    return ", ".join(f"{trial.seed}{_mark(trial)}" for trial in cell.trials)


def _mark(trial: Trial) -> str:
    status = trial.run.manifest.status
    return "" if status == "finished" else f" ({status})"


def game_name(game: str) -> str:
    """The game without ale/."""
    return game.removeprefix("ale/")


def count(number: int, what: str) -> str:
    """As in 1 run, 2 runs."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"
