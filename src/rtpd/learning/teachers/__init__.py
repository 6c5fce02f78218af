"""Teachers: what is common to all, one file for each way to learn, and one for each paper.

`base`, `off_policy`, `on_policy` and `frozen` are how a teacher finds its minibatches; an
`Algorithm` is the mathematics of one paper, per example. To add a teacher: its file, and its line
of `TEACHERS`, from which it is imported on demand: what is listed must not wait for JAX.
"""

from pkgutil import resolve_name
from typing import TYPE_CHECKING, NamedTuple

from rtpd.config.settings import Config
from rtpd.errors import RtpdError
from rtpd.learning.schedule import UpdateSchedule

if TYPE_CHECKING:
    from rtpd.learning.student_spec import StudentSpec
    from rtpd.learning.teachers.base import Algorithm, Teacher
    from rtpd.networks.heads import ValueHead
    from rtpd.networks.policy import HostPolicy, Policy
    from rtpd.types import EnvSpec


class TeacherEntry(NamedTuple):
    """What is known of a teacher before its class is imported, which is held to it."""

    where: str  # of its `Algorithm`: "module:Class"
    paper: str
    on_policy: bool = False  # learns from rollouts rather than from a replay
    atoms: int = 1  # outputs of its net for each action
    gives_q: bool = True  # whether it has Q-values, or a policy alone
    unused: tuple[str, ...] = ()  # settings that it ignores beside what its kind does: `unused_by`


_NO_REPLAY = (
    "replay.steps_per_update", "replay.importance", "teacher.n_step",
    "teacher.target_period_updates", "teacher.target_rate",
)  # fmt: skip
_NO_LEARNING = (
    "rollout", "replay.importance", "teacher.net", "teacher.dueling", "teacher.noisy",
    "teacher.optimizer", "teacher.ema_decay", "teacher.n_step", "teacher.gamma", "teacher.loss",
    "teacher.clip_rewards", "teacher.target_period_updates", "teacher.target_rate", "teacher.ppo",
)  # fmt: skip
_OWN_LOSS = ("teacher.loss",)
OF_Q = frozenset({"student.temperature", "student.temperature_unit"})
OF_POLICY = frozenset({"student.policy_temperature"})
"""How Q-values are followed, and how the logits of a teacher that has a policy alone."""
TEACHERS = {
    "dqn": TeacherEntry("rtpd.learning.teachers.dqn:DQN", "Mnih et al. 2015"),
    "double-dqn": TeacherEntry("rtpd.learning.teachers.dqn:DoubleDQN", "van Hasselt et al. 2016"),
    "munchausen": TeacherEntry(
        "rtpd.learning.teachers.munchausen:Munchausen", "Vieillard et al. 2020"
    ),
    "c51": TeacherEntry(
        "rtpd.learning.teachers.c51:C51", "Bellemare et al. 2017", atoms=51, unused=_OWN_LOSS
    ),
    "qr-dqn": TeacherEntry("rtpd.learning.teachers.qr_dqn:QRDQN", "Dabney et al. 2018", atoms=200),
    "rainbow": TeacherEntry(
        "rtpd.learning.teachers.c51:Rainbow", "Hessel et al. 2018", atoms=51, unused=_OWN_LOSS
    ),
    "pqn": TeacherEntry("rtpd.learning.teachers.pqn:PQN", "Gallici et al. 2024", on_policy=True),
    "ppo": TeacherEntry(
        "rtpd.learning.teachers.ppo:PPO",
        "Schulman et al. 2017",
        on_policy=True,
        gives_q=False,
        unused=_OWN_LOSS,
    ),
}
POLICY = "policy"  # what is written of a teacher that other programs trained and that gives logits


def is_on_policy(name: str) -> bool:
    """Whether the teacher of this name learns from rollouts; a frozen one does not."""
    return name in TEACHERS and TEACHERS[name].on_policy


def gives_q(name: str) -> bool:
    """Whether the teacher of this name has Q-values; what a frozen one has it brings itself."""
    return name not in TEACHERS or TEACHERS[name].gives_q


def unused_by(name: str, *, has_q: bool) -> tuple[str, ...]:
    """Settings, and whole tables of them, that the teacher of this name ignores.

    Of those of a TD error students with one of their own may still make use. `has_q`: whether it
    has Q-values, which the name "frozen" does not tell.
    """
    followed = OF_POLICY if has_q else OF_Q
    if name == "frozen":
        return (*_NO_LEARNING, *followed)
    entry = TEACHERS[name]
    kind = _NO_REPLAY if entry.on_policy else ("rollout",)
    plays = () if has_q else ("exploration",)
    ppo = () if name == "ppo" else ("teacher.ppo",)
    return (*kind, *plays, *ppo, *entry.unused, *followed)


def algorithm_of(name: str) -> "Algorithm":
    """What the teacher of this name learns by.

    A frozen teacher that is still to be trained, as in a suite that is being checked, counts as a
    DQN: only the shapes of its net are asked for then.

    Raises:
        RtpdError: if its line of `TEACHERS` says otherwise than its class.
    """
    entry = TEACHERS["dqn" if name == "frozen" else name]
    algorithm: Algorithm = resolve_name(entry.where)()
    head = algorithm.head
    said, found = entry[2:5], (algorithm.on_policy, head.atoms, head.gives_q)
    if said != found:
        names = "on_policy, atoms, gives_q"
        raise RtpdError(f"TEACHERS['{name}']: {names} are {said}, those of its class {found}")
    return algorithm


def head_of(name: str) -> "ValueHead":
    """How the outputs of a teacher on disk are read: one of `TEACHERS`, or `POLICY`."""
    from rtpd.networks.heads import Logits

    return Logits() if name == POLICY else algorithm_of(name).head.acting


def schedule_of(config: Config) -> UpdateSchedule:
    """When the teacher of these settings learns."""
    return UpdateSchedule(config, is_on_policy(config.teacher.algorithm))


def make_teacher(
    config: Config,
    spec: "EnvSpec",
    students: "tuple[StudentSpec, ...]",
    policy: "Policy | HostPolicy | None" = None,
) -> "Teacher":
    """The teacher of one game; `policy` is that of a frozen one."""
    if policy is not None:
        from rtpd.learning.teachers.frozen import FrozenTeacher
        from rtpd.learning.teachers.host import HostTeacher
        from rtpd.networks.policy import HostPolicy

        if isinstance(policy, HostPolicy):
            return HostTeacher(config, spec, students, policy)
        return FrozenTeacher(config, spec, students, policy)
    return algorithm_of(config.teacher.algorithm).teacher(config, spec, students)
