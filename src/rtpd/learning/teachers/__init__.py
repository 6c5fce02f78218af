"""Teachers: what is common to all, one file for each way to learn, and one for each paper.

`base`, `off_policy`, `on_policy` and `frozen` are how a teacher finds its minibatches; an
`Algorithm` is the mathematics of one paper, per example. To add a teacher: its file, and its line
of `TEACHERS`.
"""

from rtpd.config.settings import Config
from rtpd.learning.schedule import UpdateSchedule
from rtpd.learning.student_spec import StudentSpec
from rtpd.learning.teachers.base import Algorithm, Teacher
from rtpd.learning.teachers.c51 import C51
from rtpd.learning.teachers.dqn import DQN
from rtpd.learning.teachers.frozen import FrozenTeacher
from rtpd.learning.teachers.munchausen import Munchausen
from rtpd.learning.teachers.pqn import PQN
from rtpd.learning.teachers.qr_dqn import QRDQN
from rtpd.networks.heads import Logits, ValueHead
from rtpd.networks.policy import Policy
from rtpd.types import EnvSpec

TEACHERS: dict[str, Algorithm] = {
    "dqn": DQN(double=False, paper="Mnih et al. 2015"),
    "double-dqn": DQN(double=True),
    "munchausen": Munchausen(),
    "c51": C51(),
    "qr-dqn": QRDQN(),
    "rainbow": C51(double=True, paper="Hessel et al. 2018"),
    "pqn": PQN(),
}

HEADS: dict[str, ValueHead] = {
    **{name: algorithm.head for name, algorithm in TEACHERS.items()},
    "policy": Logits(),
}
"""How the outputs of a teacher on disk are read; `policy` is one of logits, trained elsewhere."""


def is_on_policy(name: str) -> bool:
    """Whether the teacher of this name learns from rollouts; a frozen one does not."""
    return name in TEACHERS and TEACHERS[name].on_policy


def algorithm_of(name: str) -> Algorithm:
    """What the teacher of this name learns by.

    A frozen teacher that is still to be trained, as in a suite that is being checked, counts as a
    DQN: only the shapes of its net are asked for then.
    """
    return DQN() if name == "frozen" else TEACHERS[name]


def schedule_of(config: Config) -> UpdateSchedule:
    """When the teacher of these settings learns."""
    return UpdateSchedule(config, is_on_policy(config.teacher.algorithm))


def make_teacher(
    config: Config, spec: EnvSpec, students: tuple[StudentSpec, ...], policy: Policy | None = None
) -> Teacher:
    """The teacher of one game; `policy` is that of a frozen one."""
    if policy is not None:
        return FrozenTeacher(config, spec, students, policy)
    return algorithm_of(config.teacher.algorithm).teacher(config, spec, students)
