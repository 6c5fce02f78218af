"""Settings that a teacher does not use, and whether they are the user's own.

A preset serves other teachers than its own too, so what it says of settings that a teacher ignores
is passed over; what the user says of them is not.
"""

from collections.abc import Collection
from dataclasses import replace

from rtpd.config.loading import flat, load_config, presets, to_dict
from rtpd.config.settings import Config, ExplorationConfig, TeacherConfig
from rtpd.errors import ConfigError
from rtpd.learning.distillation import LOSSES
from rtpd.learning.student_spec import parse_students
from rtpd.learning.teachers import OF_POLICY, OF_Q, TEACHERS, gives_q, is_on_policy, unused_by

_OF_TD_ERRORS = frozenset(
    f"teacher.{name}"
    for name in ("n_step gamma loss clip_rewards target_period_updates target_rate".split())
)


def usual_of(preset: str | None) -> Config:
    """What lies beneath the user's own settings: a preset, or the defaults."""
    return load_config(preset if preset in presets() else None)


def check_used(config: Config, *usual: Config, has_q: bool | None = None) -> None:
    """ConfigError for a setting of the user's own that the teacher ignores (`unused_by`).

    It is his if it is another one than in all of `usual`, the defaults, and what `sampling` makes
    of them. `has_q`: whether a frozen teacher has Q-values.
    """
    teacher = config.teacher.algorithm
    run = sampling(Config(teacher=TeacherConfig(teacher)))
    others = [flat(to_dict(one)) for one in (Config(), run, *usual)]
    ignored = unused(config, has_q=has_q)
    for key, value in flat(to_dict(config)).items():
        if key not in ignored or any(value == other[key] for other in others):
            continue
        if key in OF_Q | OF_POLICY:
            hint = "Q-values at --student.temperature"
            if key in OF_Q:
                hint = "the logits of a policy at --student.policy-temperature"
            raise ConfigError(f"{_said(key, value)}: students follow {hint}")
        if config.teacher.is_frozen:
            raise ConfigError(f"{_said(key, value)}: a frozen teacher does not use it")
        users = [n for n in TEACHERS if not _among(key, unused_by(n, has_q=gives_q(n)))]
        raise ConfigError(
            f"{_said(key, value)}: allowed: with --teacher {', '.join(users)}, not with '{teacher}'"
        )


def unused(config: Config, *, has_q: bool | None = None) -> frozenset[str]:
    """The settings, by dotted keys, that a run does not use, since its teacher does not.

    Those of a TD error are used where a student has one. `has_q`: as for `check_used`.
    """
    teacher = config.teacher.algorithm
    tables = unused_by(teacher, has_q=gives_q(teacher) if has_q is None else has_q)
    ignored = {key for key in flat(to_dict(config)) if _among(key, tables)}
    if any(LOSSES[student.loss].td for student in parse_students(config)):
        ignored -= _OF_TD_ERRORS - ({"teacher.n_step"} if is_on_policy(teacher) else set())
    return frozenset(ignored)


def _among(key: str, tables: Collection[str]) -> bool:
    return any(f"{key}.".startswith(f"{table}.") for table in tables)


def _said(key: str, value: object) -> str:
    """A setting as it is typed."""
    if isinstance(value, bool):
        table, _, name = key.rpartition(".")
        return flag(f"{table}.{'' if value else 'no-'}{name}")
    return f"{flag(key)} {value:g}" if isinstance(value, float) else f"{flag(key)} {value}"


def sampling(config: Config) -> Config:
    """The settings as they are run: who samples a policy does not play epsilon-greedily."""
    if gives_q(config.teacher.algorithm):
        return config
    return replace(config, exploration=ExplorationConfig(0.0, 0.0, 0))


def flag(path: str) -> str:
    """The command-line spelling of a setting's path."""
    return "--" + path.replace("_", "-")
