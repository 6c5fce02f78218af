"""Whether a run can be as it is asked for, and what its texts mean."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax

from rtpd import envs, nets
from rtpd.config import Config
from rtpd.errors import ConfigError, unknown
from rtpd.losses import LOSSES
from rtpd.teachers import TEACHERS, kind
from rtpd.types import EnvSpec


@dataclass(frozen=True)
class StudentSpec:
    """One student: the name it is listed under, its net's text and its loss.

    `int8`: it learns as it will be when it is exported in integers.
    """

    name: str
    net: str
    loss: str
    int8: bool = False

    @property
    def text(self) -> str:
        """What `parse_students` reads."""
        return f"{self.net}:{self.loss}" + (":int8" if self.int8 else "")


RANGES: dict[str, tuple[float, float]] = {
    "steps": (1, math.inf),
    "minutes": (0, math.inf),
    "seed": (0, 2**31 - 1),
    "num_envs": (1, 4096),
    "checkpoint_steps": (0, math.inf),
    "log_steps": (1, math.inf),
    "td.n_step": (1, 100),
    "td.gamma": (0, 1),
    "td.optimizer.learning_rate": (0, 10),
    "td.optimizer.eps": (0, 10),
    "td.optimizer.decay": (0, 1),
    "td.optimizer.max_grad_norm": (0, math.inf),
    "td.optimizer.anneal": (0, 1),
    "student.optimizer.anneal": (0, 1),
    "td.target_period_updates": (1, math.inf),
    "td.target_rate": (1e-9, 1),
    "td.average_decay": (0, 0.999999),
    "student.optimizer.learning_rate": (0, 10),
    "student.optimizer.eps": (0, 10),
    "student.optimizer.decay": (0, 1),
    "student.optimizer.max_grad_norm": (0, math.inf),
    "student.temperature": (1e-9, 1e9),
    "student.updates": (1, 100),
    "student.average_decay": (0, 0.999999),
    "student.td_weight": (0, math.inf),
    "replay.capacity": (1, 10**9),
    "replay.batch_size": (1, 65_536),
    "replay.warmup_steps": (1, math.inf),
    "replay.steps_per_update": (1, 10**6),
    "replay.priority": (0, 10),
    "replay.importance": (0, 1),
    "rollout.steps": (1, 100_000),
    "rollout.epochs": (1, 100),
    "rollout.minibatch_size": (1, 65_536),
    "rollout.trace": (0, 1),
    "explore.start": (0, 1),
    "explore.end": (0, 1),
    "explore.decay_steps": (0, math.inf),
    "evaluation.period_steps": (0, math.inf),
    "evaluation.episodes": (1, 10_000),
    "evaluation.final_episodes": (1, 10_000),
    "evaluation.epsilon": (0, 1),
}


def validate(config: Config) -> None:
    """Raise ConfigError or EnvError in one line for the first value that cannot be met."""
    for path, (low, high) in RANGES.items():
        value: Any = config
        for part in path.split("."):
            value = getattr(value, part)
        if not low <= value <= high:  # also catches NaN
            limit = f"{low:g} to {high:g}" if high < math.inf else f"{low:g} or more"
            raise ConfigError(f"{flag(path)} {value}: allowed: {limit}")
        if value == math.inf:
            raise ConfigError(f"{flag(path)} {value}: must be finite")
    _check_games(config)
    if config.teacher not in (*TEACHERS, "frozen"):
        raise ConfigError(unknown("teacher", config.teacher, TEACHERS))
    students = parse_students(config.students)
    for student in students if len(config.games) > 1 else ():
        if LOSSES[student.loss].td:
            raise ConfigError(
                f"student '{student.net}:{student.loss}': a student of several games has no TD "
                "loss of its own; use kl"
            )
    parse_actors(config)
    parse_centre(config.centre)
    parse_scale(config.scale)
    replay, batch, least = config.replay, config.replay.batch_size, least_replay(config)
    if config.student.follow == "ema" and not config.td.average_decay:
        raise ConfigError("--student.follow ema: needs --td.average-decay, such as 0.995")
    if config.student.follow == "best" and not config.evaluation.period_steps:
        raise ConfigError("--student.follow best: needs --evaluation.period-steps above 0")
    rollout = kind(config.teacher).regime == "rollout"
    window = (
        f"rollouts of {config.rollout.steps}" if rollout else f"{config.td.n_step}-step returns"
    )
    for name in ("warmup_steps", "capacity"):
        if getattr(replay, name) < least:
            raise ConfigError(
                f"{flag(f'replay.{name}')} {getattr(replay, name)} is below {least}, what a batch "
                f"of {batch} from {config.num_envs} envs and {window} needs"
            )
    if rollout and replay.priority:
        raise ConfigError(
            f"--replay.priority {replay.priority}: teacher '{config.teacher}' learns from rollouts"
        )
    if config.teacher == "frozen" and replay.priority:
        raise ConfigError(
            f"--replay.priority {replay.priority}: nothing surprises a frozen teacher"
        )
    if rollout and config.rollout.steps * config.num_envs < config.rollout.minibatch_size:
        raise ConfigError(
            f"--rollout.minibatch-size {config.rollout.minibatch_size} is above the "
            f"{config.rollout.steps} steps of {config.num_envs} envs that a rollout holds"
        )


def _check_games(config: Config) -> None:
    """Every game can be played, and none is named twice."""
    names = config.env.split("+")
    for name in names:
        envs.check(name, config.environment)
    shorts = [envs.short(envs.canonical(name)) for name in names]
    for short in shorts:
        if shorts.count(short) > 1:
            raise ConfigError(f"'{config.env}' names '{short}' twice")


def check_alike(specs: Mapping[str, EnvSpec]) -> None:
    """ConfigError unless one net can read all games; each may have actions of its own."""
    (first, seen), *others = specs.items()
    for game, spec in others:
        same = replace(spec, num_actions=seen.num_actions)
        check_same(f"no student can play both: '{game}'", same, f"'{first}'", seen)


def check_same(name: str, spec: EnvSpec, other: str, needed: EnvSpec) -> None:
    """ConfigError with both values unless a net for `spec` is one for `needed`."""
    for what in ("num_actions", "frame_shape", "frame_dtype", "stack"):
        has, needs = getattr(spec, what), getattr(needed, what)
        if has != needs:
            raise ConfigError(f"{name} has {what.replace('_', ' ')} {has}, {other} {needs}")


def least_replay(config: Config) -> int:
    """Transitions without which no minibatch can be drawn."""
    rollout = kind(config.teacher).regime == "rollout"
    # A rollout is learnt from while the next one is played.
    rows = (2 * config.rollout.steps if rollout else config.td.n_step) + 8
    return max(config.replay.batch_size, rows * config.num_envs)


def parse_students(texts: tuple[str, ...]) -> tuple[StudentSpec, ...]:
    """NET:LOSS and NET:LOSS:int8 to specs; the loss may be left out (kl). `auto` is for `resolve`.

    A student is named after its net, and net-loss where the same net comes with several losses; one
    that is trained for int8 has -int8 behind it.
    """
    if texts in ((), ("none",)):
        return ()
    if "none" in texts:
        raise ConfigError(f"--students {' '.join(texts)}: 'none' stands alone")
    found: list[StudentSpec] = []
    for text in texts:
        net, loss, form = (*text.split(":", 2), "", "")[:3]
        student = StudentSpec("", net, loss or "kl", bool(form))
        shape = nets.parse(net) if net != "auto" else None
        if student.loss not in LOSSES:
            raise ConfigError(f"student '{text}': {unknown('loss', student.loss, LOSSES)}")
        if form not in ("", "int8"):
            raise ConfigError(f"student '{text}': {unknown('form', form, ['int8'])}")
        if form and not isinstance(shape, nets.ConvShape | None):
            raise ConfigError(f"student '{text}': int8 goes with nets of convolutions, as net1.7")
        if student in found:
            raise ConfigError(f"student '{student.text}' is listed twice")
        found.append(student)
    return tuple(replace(s, name=_name_of(s, found)) for s in found)


def _name_of(student: StudentSpec, others: list[StudentSpec]) -> str:
    losses = {s.loss for s in others if s.net == student.net}
    name = student.net if len(losses) == 1 else f"{student.net}-{student.loss}"
    return name + ("-int8" if student.int8 else "")


def parse_actors(config: Config) -> dict[str, slice]:
    """Which of a game's envs each agent drives; the teacher drives some or all."""
    if config.actors == "teacher":
        return {"teacher": slice(0, config.num_envs)}
    names = ["teacher", *(student.name for student in parse_students(config.students))]
    crew: dict[str, slice] = {}
    start = 0
    for part in config.actors.split(","):
        name, _, text = part.strip().partition("=")
        if name not in names:
            raise ConfigError(f"--actors {config.actors}: {unknown('agent', name, names)}")
        if name in crew or not (text.isdecimal() and int(text)):
            raise ConfigError(
                f"--actors {config.actors}: '{part}': allowed: each agent once, with a number of "
                "envs, as in teacher=6,net1.7=2"
            )
        crew[name] = slice(start, start + int(text))
        start += int(text)
    if "teacher" not in crew or start != config.num_envs:
        raise ConfigError(
            f"--actors {config.actors}: that is {start} envs, the teacher's among them must be 1 "
            f"or more, and --num-envs is {config.num_envs}"
        )
    return crew


def parse_centre(text: str) -> float | None:
    """The constant to subtract from frames, or None for their mean."""
    if text == "mean":
        return None
    value = 0.0 if text == "none" else _number(text)
    if not math.isfinite(value):
        raise ConfigError(f"--centre '{text}': allowed: mean, none, or a number such as 128")
    return value


def parse_scale(text: str) -> float | None:
    """The constant to divide centred frames by, or None for their standard deviation."""
    if text == "std":
        return None
    value = _number(text)
    if not 0 < value < math.inf:
        raise ConfigError(f"--scale '{text}': allowed: std, or a positive number such as 255")
    return value


def resolve(config: Config, *, is_image: bool) -> Config:
    """Fill in `auto` for the kind of observations, so that the manifest says what ran."""
    net, student = ("nature", "net1.7") if is_image else ("mlp64-64", "mlp16")
    students = tuple(
        student + s.removeprefix("auto") if s.partition(":")[0] == "auto" else s
        for s in config.students
    )
    students = tuple(s.text for s in parse_students(students))
    td = replace(config.td, net=net) if config.td.net == "auto" else config.td
    env = "+".join(envs.canonical(name) for name in config.games.values())
    return replace(config, env=env, students=students or ("none",), td=td)


def default_preset(teacher: str | None = None) -> str:
    """The preset for the device that JAX finds and the teacher that is asked for, if any.

    `cpu` has a teacher without a replay; one that needs it gets the settings of `double-dqn`.
    """
    if jax.default_backend() != "cpu":
        return "gpu"
    known = TEACHERS.get(teacher or "")
    return "double-dqn" if known is not None and known.regime == "replay" else "cpu"


def flag(path: str) -> str:
    """The command-line spelling of a setting's path."""
    return "--" + path.replace("_", "-")


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
