"""Teachers, one file per paper.

A teacher's `regime` says what it learns from: minibatches drawn from a `replay`, or the newest
`rollout` of all envs. Either way it ends in minibatches whose q[B, A] the students see.
"""

from rtpd.teachers.dqn import DQN, td_loss
from rtpd.teachers.pqn import PQN, lambda_returns

__all__ = ["DQN", "PQN", "TEACHERS", "Teacher", "lambda_returns", "td_loss"]

Teacher = DQN | PQN

TEACHERS: dict[str, Teacher] = {
    "dqn": DQN(double=False),
    "double-dqn": DQN(double=True),
    "pqn": PQN(),
}
