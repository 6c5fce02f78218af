"""What a random player and a human score on Atari, to say how good a return is."""

from functools import cache
from typing import NamedTuple

from rtpd.envs.common import read_table


class Baseline(NamedTuple):
    """Mean returns of a game, undiscounted and unclipped."""

    random: float
    human: float


@cache
def baselines() -> dict[str, Baseline]:
    """The 57 games of the literature, by ALE name; the source stands in `baselines.csv`."""
    rows = read_table("baselines.csv")
    return {row["game"]: Baseline(float(row["random"]), float(row["human"])) for row in rows}


def human_normalised(game: str, score: float) -> float | None:
    """(score - random) / (human - random): 0 as good as random, 1 as good as a human.

    Args:
        game: canonical name, with or without its `ale/`.
        score: mean return, undiscounted and unclipped.

    Returns:
        A ratio (not per cent), or None for a game, or another family's env, without baselines.
    """
    baseline = baselines().get(game.removeprefix("ale/"))
    if baseline is None:
        return None
    return (score - baseline.random) / (baseline.human - baseline.random)
