"""What the user has asked for himself, over a preset: whether his teacher uses it at all.

A preset serves other teachers than its own too, so what it says of settings that a teacher ignores
is passed over; what the user says of them is not.
"""

from collections.abc import Collection
from dataclasses import replace

from rtpd.config.loading import flat, load_config, presets, to_dict
from rtpd.config.settings import Config, ExplorationConfig, StudentConfig, TeacherConfig
from rtpd.errors import ConfigError
from rtpd.learning.distillation import LOSSES
from rtpd.learning.student_spec import parse_students
from rtpd.learning.teachers import TEACHERS, gives_q, is_on_policy, unused_by

_OF_TD_ERRORS = frozenset(
    f"teacher.{name}"
    for name in ("n_step gamma loss clip_rewards target_period_updates target_rate".split())
)


def usual_of(preset: str | None) -> Config:
    """What lies beneath the user's own settings: a preset, or the defaults."""
    return load_config(preset if preset in presets() else None)


def check_used(config: Config, *usual: Config) -> None:
    """ConfigError for a setting of the user's own that the teacher ignores (`unused_by`).

    It is his if it is another one than in all of `usual`, the defaults, and what `sampling` makes
    of them.
    """
    teacher = config.teacher.algorithm
    run = sampling(Config(teacher=TeacherConfig(teacher)))
    others = [flat(to_dict(one)) for one in (Config(), run, *usual)]
    for key, value in flat(to_dict(config)).items():
        if not _is_unused(config, key) or any(value == other[key] for other in others):
            continue
        if config.teacher.is_frozen:
            raise ConfigError(f"{_said(key, value)}: a frozen teacher does not use it")
        users = [n for n in TEACHERS if not _among(key, unused_by(n))]
        raise ConfigError(
            f"{_said(key, value)}: allowed: with --teacher {', '.join(users)}, not with '{teacher}'"
        )


def unused(config: Config) -> frozenset[str]:
    """The settings, by dotted keys, that a run does not use, since its teacher does not."""
    return frozenset(key for key in flat(to_dict(config)) if _is_unused(config, key))


def _is_unused(config: Config, key: str) -> bool:
    """Whether the teacher ignores a setting, and no student has a TD error that it is for."""
    of_students = key in _OF_TD_ERRORS and any(
        LOSSES[student.loss].td for student in parse_students(config)
    )
    if of_students and not (key == "teacher.n_step" and is_on_policy(config.teacher.algorithm)):
        return False
    return _among(key, unused_by(config.teacher.algorithm))


def _among(key: str, tables: Collection[str]) -> bool:
    return any(f"{key}.".startswith(f"{table}.") for table in tables)


def _said(key: str, value: object) -> str:
    """A setting as it is typed."""
    if isinstance(value, bool):
        table, _, name = key.rpartition(".")
        return flag(f"{table}.{'' if value else 'no-'}{name}")
    return f"{flag(key)} {value:g}" if isinstance(value, float) else f"{flag(key)} {value}"


def followed_at_1(config: Config, preset: str | None = None, asked: Collection[str] = ()) -> Config:
    """The settings for a teacher without Q-values, whose logits are a policy at temperature 1.

    A temperature of a preset or of the defaults is in units of Q; it stays only where the user has
    asked for it himself: where it is another one, or is named in `asked`.
    """
    found = config.student
    others = [
        (s.temperature, s.temperature_unit) for s in (StudentConfig(), usual_of(preset).student)
    ]
    own = not {"student.temperature", "student.temperature_unit"}.isdisjoint(asked)
    if own or (found.temperature, found.temperature_unit) not in others:
        return config
    return replace(config, student=replace(found, temperature=1.0, temperature_unit="q"))


def sampling(config: Config) -> Config:
    """The settings as they are run: who samples a policy does not play epsilon-greedily."""
    if gives_q(config.teacher.algorithm):
        return config
    return replace(config, exploration=ExplorationConfig(0.0, 0.0, 0))


def flag(path: str) -> str:
    """The command-line spelling of a setting's path."""
    return "--" + path.replace("_", "-")
