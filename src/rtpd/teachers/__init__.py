"""Teachers, one file per paper."""

from rtpd.teachers.dqn import DQN, td_loss

__all__ = ["DQN", "TEACHERS", "td_loss"]

TEACHERS: dict[str, DQN] = {
    "dqn": DQN(double=False),
    "double-dqn": DQN(double=True),
}
