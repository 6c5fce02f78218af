"""How a report says numbers."""

import re
from collections.abc import Sequence

import numpy as np

from rtpd.report import stats
from rtpd.report.cells import SCRATCH, Result
from rtpd.report.naming import steps
from rtpd.report.trials import Trial
from rtpd.system.formatting import show


def with_interval(estimate: stats.Estimate | None, form: str = ",.1f", unit: str = "") -> str:
    """A number and its 95 % interval; of one seed there is none."""
    if estimate is None:
        return "-"
    both = estimate.interval
    tail = f" ({show(both[0], form)} to {show(both[1], form)})" if both else ""
    return show(estimate.value, form, unit) + tail


def share_of(result: Result) -> str:
    """% of the teacher with its interval over seeds; the return where no teacher was run."""
    if result.share is None and result.cell.procedure == SCRATCH:
        return f"return {with_interval(result.mean)}"
    return with_interval(result.share, ",.0f", " %")


def middle(values: Sequence[float], unit: str) -> str:
    """The median of what several seeds took, with the range; `unit` is "steps" or "minutes"."""
    if not values:
        return "-"
    form = steps if unit == "steps" else _minutes
    said = form(float(np.median(values))) + ("" if unit == "steps" else " min")
    return said if len(values) == 1 else f"{said} ({form(min(values))} to {form(max(values))})"


def _minutes(value: float) -> str:
    return f"{value:.2g}" if value < 10 else show(value)


def seeds(trials: Sequence[Trial]) -> str:
    """The seeds of runs; what has not finished is marked."""
    return ", ".join(f"{trial.seed}{_mark(trial)}" for trial in trials)


def _mark(trial: Trial) -> str:
    status = trial.run.manifest.status
    return "" if status == "finished" else f" ({status})"


def game_name(game: str) -> str:
    """The game without ale/."""
    return game.removeprefix("ale/")


def slug(text: str) -> str:
    """A name in harmless characters."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60]


def listed(names: Sequence[str], most: int = 6) -> str:
    """As in "a, b and 3 more"."""
    if len(names) <= most:
        return ", ".join(names)
    return f"{', '.join(names[:most])} and {len(names) - most} more"
