"""Whether a run can be as it is asked for, and what its texts mean."""

import math
from collections.abc import Mapping
from dataclasses import replace

from rtpd import envs
from rtpd.config.settings import Config, StudentConfig
from rtpd.errors import ConfigError, told, unknown
from rtpd.learning.distillation import LOSSES
from rtpd.learning.student_spec import parse_actors, parse_students
from rtpd.learning.teachers import OF_POLICY, OF_Q, TEACHERS, gives_q, is_on_policy
from rtpd.ranges import outside
from rtpd.system import compute
from rtpd.system.formatting import count
from rtpd.system.process import backend
from rtpd.training.unused import check_used, flag, sampling
from rtpd.types import EnvSpec

MOST_GAMES = 128
DEFAULTS = Config()


def validate(config: Config, usual: Config | None = DEFAULTS) -> None:
    """Raise ConfigError or EnvError in one line for the first value that cannot be met.

    `usual`: the settings beneath the user's own, see `check_used`; None: a run that goes on.
    """
    _check_ranges(config)
    _check_games(config)
    if config.teacher.algorithm not in (*TEACHERS, "frozen"):
        raise ConfigError(unknown("teacher", config.teacher.algorithm, TEACHERS))
    _check_students(config)
    actors = parse_actors(config)
    if usual is not None:
        check_used(config, usual)
    if not config.teacher.is_frozen:
        has_q, name = gives_q(config.teacher.algorithm), f"teacher '{config.teacher.algorithm}'"
        check_followed(config, name, has_q=has_q)
        if not has_q:
            _check_policy(config, actors, name)
    parse_centre(config.centre)
    parse_scale(config.scale)
    replay, batch, least = config.replay, config.replay.batch_size, least_replay(config)
    rollout = is_on_policy(config.teacher.algorithm)
    window = (
        f"rollouts of {config.rollout.steps}"
        if rollout
        else f"{config.teacher.n_step}-step returns"
    )
    for name in ("warmup_steps", "capacity"):
        if getattr(replay, name) < least:
            raise ConfigError(
                f"{flag(f'replay.{name}')} {getattr(replay, name)} is below {least}, what a batch "
                f"of {batch} from {count(config.num_envs, 'env')} and {window} needs"
            )
    if rollout and replay.priority:
        raise ConfigError(
            f"--replay.priority {replay.priority}: teacher '{config.teacher.algorithm}' learns "
            "from rollouts"
        )
    if config.teacher.is_frozen and config.consolidation.share:
        raise ConfigError(
            f"--consolidate {config.consolidation.share:g}: a frozen teacher rests all the time"
        )
    if config.teacher.is_frozen and replay.priority:
        raise ConfigError(f"--replay.priority {replay.priority}: a frozen teacher has no TD errors")
    if rollout and config.rollout.steps * config.num_envs < config.rollout.minibatch_size:
        raise ConfigError(
            f"--rollout.minibatch-size {config.rollout.minibatch_size} is above the "
            f"{config.rollout.steps} steps of {count(config.num_envs, 'env')} that a rollout holds"
        )


def _check_policy(config: Config, actors: Mapping[str, slice], teacher: str) -> None:
    """A teacher that learns a policy alone has what it needs."""
    if config.teacher.dueling:
        raise ConfigError(f"--teacher.dueling: {teacher} has no Q-values to part in two streams")
    if config.teacher.noisy:
        raise ConfigError(f"--teacher.noisy: {teacher} explores by sampling its policy")
    if len(actors) > 1:
        raise ConfigError(f"--actors {config.actors}: {teacher} learns from its own play alone")


def check_followed(config: Config, teacher: str, *, has_q: bool) -> None:
    """ConfigError where a student follows what its teacher, described so, does not have."""
    has = "Q-values" if has_q else "a policy alone"
    losses = ", ".join(name for name, loss in LOSSES.items() if not loss.needs_q)
    for student in parse_students(config):
        own = {part.partition("=")[0]: part for part in student.overrides}
        whose = f"student '{student.text}'"
        odd = own.keys() & {key.removeprefix("student.") for key in (OF_POLICY if has_q else OF_Q)}
        if odd:
            allowed = "temperature" if has_q else "policy_temperature"
            raise ConfigError(f"{whose}: {own[min(odd)]}: {teacher} has {has}: allowed: {allowed}")
        if LOSSES[student.loss].needs_q and not has_q:
            raise ConfigError(
                f"{whose}: {student.loss} follows Q-values, and {teacher} has {has}: "
                f"allowed: {losses}"
            )


def _check_ranges(settings: Config | StudentConfig, path: str = "", whose: str = "") -> None:
    """Every number lies in its field's range; `path` is that of the settings."""
    for where, value, limits in outside(settings, path):
        raise ConfigError(f"{whose}{flag(where)} {told(value)}: allowed: {limits.allowed(value)}")


def _check_students(config: Config) -> None:
    """Every student can learn as it is asked to."""
    for student in parse_students(config):
        whose, how = f"student '{student.text}': ", student.settings
        _check_ranges(how, "student.", whose)
        if LOSSES[student.loss].td and len(config.games) > 1:
            raise ConfigError(
                f"{whose}a student of several games has no TD loss of its own; use kl"
            )
        if how.follow == "ema" and not config.teacher.ema_decay:
            raise ConfigError(f"{whose}to follow ema needs --teacher.ema-decay, such as 0.995")
        if how.follow == "best" and not config.evaluation.period_steps:
            raise ConfigError(f"{whose}to follow best needs --evaluation.period-steps above 0")
        acts = "ema" if config.teacher.ema_decay else "latest"
        if how.follow != acts and not config.teacher.is_frozen:
            answers = f"those of the teacher that acts ({acts}): to follow {how.follow} needs"
            if how.targets == "stored":
                raise ConfigError(f"{whose}stored targets are {answers} --student.targets fresh")
            if config.consolidation.share:
                raise ConfigError(
                    f"{whose}targets of the consolidation are {answers} --consolidate 0"
                )
        rate = how.optimizer.learning_rate
        if config.on_divergence == "rollback" and rate != config.student.optimizer.learning_rate:
            raise ConfigError(
                f"{whose}--on-divergence rollback halves one learning rate for all students"
            )


def _check_games(config: Config) -> None:
    """Every game can be played, and none is named twice."""
    names = config.env.split("+")
    if len(names) > MOST_GAMES:
        raise ConfigError(f"'{config.env}' names {len(names):,} games: allowed: {MOST_GAMES}")
    for name in names:
        envs.check(name)
    shorts = [envs.short(envs.canonical(name)) for name in names]
    for short in shorts:
        if shorts.count(short) > 1:  # of 128 at most
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
    rollout = is_on_policy(config.teacher.algorithm)
    # A rollout is learnt from while the next one is played.
    rows = (2 * config.rollout.steps if rollout else config.teacher.n_step) + 8
    return max(config.replay.batch_size, rows * config.num_envs)


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
    """Fill in `auto` for the kind of observations, so that the manifest says what ran.

    And what a teacher that samples its policy does in the place of epsilon-greedy play.
    """
    net, student = ("nature", "net1.7") if is_image else ("mlp64-64", "mlp16")
    students = tuple(
        student + s.removeprefix("auto") if s.partition(":")[0] == "auto" else s
        for s in config.students
    )
    students = tuple(s.text for s in parse_students(replace(config, students=students)))
    teacher = config.teacher
    teacher = replace(teacher, net=net) if teacher.net == "auto" else teacher
    env = "+".join(envs.canonical(name) for name in config.games.values())
    found = compute.resolve(config.compute) if is_image else "float32"
    config = sampling(config)
    return replace(config, env=env, students=students or ("none",), teacher=teacher, compute=found)


def default_preset(teacher: str | None = None, env: str = "ale/pong") -> str:
    """The preset for the games, the teacher that is asked for, if any, and the device JAX finds.

    `gym` outside Atari. `cpu` has a teacher without a replay; one that needs it gets the settings
    of `double-dqn`, one that learns a policy those of `ppo-cpu`, or of `ppo` on a GPU, and outside
    Atari of `ppo-gym`.
    """
    if not any(envs.is_atari(name) for name in env.split("+")):
        return "gym" if gives_q(teacher or "") else "ppo-gym"
    if not gives_q(teacher or ""):
        return "ppo-cpu" if backend() == "cpu" else "ppo"
    if backend() != "cpu":
        return "gpu"
    known = TEACHERS.get(teacher or "")
    return "double-dqn" if known is not None and not known.on_policy else "cpu"


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
