"""A teacher that has learnt before, for the two-stage procedure (Rusu et al. 2015)."""

from dataclasses import dataclass

from rtpd.learning.teachers.dqn import DQN


@dataclass(frozen=True)
class Frozen(DQN):
    """Plays and answers, and learns no more; its students learn from a replay of its play.

    Rusu et al. 2015, arXiv:1511.06295. Whatever kind it once was, it comes with its own net and
    head (`Policy`).
    """

    paper: str = "Rusu et al. 2015"
