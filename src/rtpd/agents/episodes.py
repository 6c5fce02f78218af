"""Unclipped returns of whole episodes, summed over steps."""

from typing import NamedTuple

import numpy as np

from rtpd.types import Timestep


class Episode(NamedTuple):
    """A whole episode: which env played it, its undiscounted return, its length in steps.

    `cut`: a time limit has ended it.
    """

    env: int
    total: float
    steps: int
    cut: bool = False


class Episodes:
    """Sums rewards per env until a frame is `last`; a lost life does not end an episode."""

    def __init__(self, num_envs: int) -> None:
        """Every env is at an episode's first frame."""
        self._total, self._steps = np.zeros(num_envs), np.zeros(num_envs, int)

    def add(self, timestep: Timestep) -> list[Episode]:
        """Take in a step; the episodes that it ended."""
        self._total += timestep.reward
        self._steps += ~timestep.first
        ended = []
        for env in np.flatnonzero(timestep.last):
            total, steps = float(self._total[env]), int(self._steps[env])
            ended.append(Episode(int(env), total, steps, bool(timestep.truncated[env])))
            self._total[env], self._steps[env] = 0.0, 0
        return ended
