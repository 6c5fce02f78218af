"""What a random player and a human score, to say how good a return is.

Of Atari's games the literature knows both; elsewhere a run measures the first itself.
"""

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import NamedTuple

from rtpd.envs.tables import read_table


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


def has_baseline(game: str) -> bool:
    """Whether the literature knows what a random player scores."""
    return game.removeprefix("ale/") in baselines()


def random_score(game: str, measured: Mapping[str, float] = MappingProxyType({})) -> float:
    """What counts as 0 %: the mean return of random play.

    That of the literature, or the one `measured`, by the games' names; 0 where neither is known.
    """
    baseline = baselines().get(game.removeprefix("ale/"))
    return baseline.random if baseline else measured.get(game, 0.0)


def percent_of_teacher(
    game: str, score: float, teacher: float, measured: Mapping[str, float] = MappingProxyType({})
) -> float | None:
    """100 x (score - random) / (teacher - random); what is `measured`, see `random_score`.

    None where the denominator is not positive: a teacher no better than chance has nothing to be a
    share of.
    """
    base = random_score(game, measured)
    return 100 * (score - base) / (teacher - base) if teacher > base else None
