"""Teachers, one file per paper. Floor 1."""

from rtpd.teachers.dqn import DQN

TEACHERS: dict[str, DQN] = {
    "dqn": DQN(double=False),
    "double-dqn": DQN(double=True),
}
