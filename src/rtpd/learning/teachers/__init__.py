"""Teachers, one file per paper.

A teacher's `regime` says what it learns from: minibatches drawn from a `replay`, or the newest
`rollout` of all envs. Either way it ends in minibatches whose q[B, A] the students see. A teacher
with a replay is a `DQN` with another loss; its net gives `atoms` outputs per action.
"""

from rtpd.learning.teachers.c51 import C51
from rtpd.learning.teachers.dqn import DQN, Ends, Transition, td_loss
from rtpd.learning.teachers.frozen import Frozen
from rtpd.learning.teachers.munchausen import Munchausen
from rtpd.learning.teachers.pqn import PQN, lambda_returns
from rtpd.learning.teachers.qr_dqn import QRDQN

__all__ = [
    "C51", "DQN", "PQN", "QRDQN", "TEACHERS", "Ends", "Frozen", "Munchausen", "Teacher",
    "Transition", "kind", "lambda_returns", "td_loss",
]  # fmt: skip

Teacher = DQN | PQN

TEACHERS: dict[str, Teacher] = {
    "dqn": DQN(double=False, paper="Mnih et al. 2015"),
    "double-dqn": DQN(double=True),
    "munchausen": Munchausen(),
    "c51": C51(),
    "qr-dqn": QRDQN(),
    "rainbow": C51(double=True, paper="Hessel et al. 2018"),
    "pqn": PQN(),
}


def kind(name: str) -> Teacher:
    """The teacher of this name; "frozen" is one that has learnt before."""
    return Frozen() if name == "frozen" else TEACHERS[name]
