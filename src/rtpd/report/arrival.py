"""When a run's agent became as good as the final teacher, and stayed so."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from rtpd.errors import RequestError
from rtpd.report.stats import finite_numbers


class Arrival(NamedTuple):
    """When an agent got there for good: agent steps, wall time, whether later evaluations agree."""

    steps: int
    seconds: float
    confirmed: bool


def time_to_expert(
    steps: Sequence[int] | Int[np.ndarray, " T"],
    seconds: Sequence[float] | Float[np.ndarray, " T"],
    scores: Sequence[float] | Float[np.ndarray, " T"],
    teacher: float,
    base: float = 0.0,
    *,
    percent: float = 95.0,
) -> Arrival | None:
    """The first evaluation from which on a run's scores stay at `percent` of the final teacher.

    This one and all later ones must reach it; nothing is interpolated. It may be the very last,
    which nothing confirms. None where there is none, or the teacher is no better than the base.

    Args:
        steps: agent steps of the run's evaluations, rising.
        seconds: wall time of training at each.
        scores: mean return at each.
        teacher: the final teacher's score.
        base: what counts as 0 %, the score of random play (`envs.baselines.percent_of_teacher`).
        percent: of the way from base to teacher.
    """
    if not len(steps) == len(seconds) == len(scores):
        counts = f"{len(steps)} steps, {len(seconds)} times, {len(scores)} scores"
        raise RequestError(f"evaluations with {counts}: equally many are needed")
    finite_numbers("evaluations", [*steps, *seconds, *scores, teacher, base])
    if (falls := np.flatnonzero(np.diff(steps) <= 0)).size:
        at = falls[0]
        raise RequestError(f"evaluations: step {steps[at + 1]} after {steps[at]}; they must rise")
    if teacher <= base:
        return None
    percents = 100 * (np.asarray(scores) - base) / (teacher - base)
    missed = np.flatnonzero(percents < percent)
    first = missed[-1] + 1 if missed.size else 0
    if first == len(percents):
        return None
    return Arrival(int(steps[first]), float(seconds[first]), bool(first < len(percents) - 1))
