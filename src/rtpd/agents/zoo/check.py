"""Whether a student of the zoo plays as its card says."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from rtpd.types import EvalResult


def check_card(card: Mapping[str, Any], played: EvalResult) -> dict[str, Any]:
    """Whether a mean return agrees with that of a student's card.

    {"mean", "standard_error", "episodes", "difference", "allowed", "holds"}: two samples of one
    distribution differ in their means by more than `allowed` in 5 % of cases; its deviation is
    that of the card's episodes, since a few episodes tell little of it. `holds` is None where
    another share of random actions makes it another distribution.
    """
    deviation = float(np.std(card["returns"], ddof=1))
    allowed = 1.96 * deviation * (1 / card["episodes"] + 1 / len(played.returns)) ** 0.5
    difference, same = played.mean - card["mean"], played.epsilon == card["epsilon"]
    return {
        **{key: card[key] for key in ("mean", "standard_error", "episodes", "epsilon")},
        "difference": difference,
        "allowed": allowed,
        "holds": abs(difference) <= allowed if same else None,
    }
