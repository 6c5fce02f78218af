"""Two-stage distillation: students of a pretrained teacher."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from rtpd import envs
from rtpd.agents.formats import host, pretrained
from rtpd.agents.formats.host import Reading
from rtpd.agents.store import file_of, load_policy
from rtpd.config.loading import from_dict, load_config
from rtpd.config.settings import Config, TeacherConfig
from rtpd.envs import EnvOptions
from rtpd.errors import ConfigError, RunError, typed
from rtpd.learning.student_spec import parse_students
from rtpd.networks.policy import HostPolicy, Policy
from rtpd.storage.run_folder import Run
from rtpd.system.process import settled
from rtpd.training import train, validation
from rtpd.training.monitor import Monitor
from rtpd.training.unused import check_used, usual_of

PRESET = "distill"


@settled()
def distill(
    teacher: str | Path | Callable[[np.ndarray], Any],
    settings: Config | None = None,
    *,
    env: str | None = None,
    teacher_output: str | None = None,
    teacher_scale: float | None = None,
    teacher_normalize: str | Path | None = None,
    out: str | Path | None = None,
    preset: str | None = None,
    monitor: Monitor | None = None,
    track: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Distil a pretrained teacher into students (Rusu et al. 2015).

    The same loop as `train`, with a frozen teacher: it plays, and its students learn from a replay
    of its play. `resume` goes on with such a run like with any other.

    Args:
        teacher: a run folder, an agent's .safetensors file, the .zip of a Stable-Baselines3 DQN,
            PPO or A2C or an sb3-contrib QR-DQN, the .cleanrl_model of a CleanRL DQN, C51 or PPO
            (read without PyTorch), an .onnx of any program, or a function (`agents.formats.host`):
            of a batch of observations, u8[N K H W] of images, f32[N K*D] of vectors, to f32[N A] or
            the actions [N]. All but the first two need `env`, or `settings` that say which game.
            Students follow the logits of a policy as they are.
        settings: what to do; None takes the preset `distill`. Without an `env` the teacher's own
            game is played, and with untouched `environment` options as it was played then.
        env: the game, in the place of that of the settings.
        teacher_output: what an ONNX file or a function answers, where nothing else tells: q,
            logits, or actions.
        teacher_scale: what an ONNX file's float pixels are divided by, 255 or 1.
        teacher_normalize: what VecNormalize.save has written, or a .npz or .json of the `mean` and
            `var` of vectors, where the teacher was trained on normalised ones.
        out: as for `train`, like all that follow.
        preset: name of the preset that `settings` came from.
        monitor: told of the progress.
        track: other tools that are told the metrics.

    Returns:
        What `train` returns.

    Raises:
        RequestError: if the request cannot be met; nothing has been written then.
    """
    if settings is None:
        preset = preset or PRESET
        settings = replace(load_config(preset), env="")
    if env is not None:
        settings = replace(settings, env=env)
    if not settings.teacher.is_frozen:
        raise ConfigError(
            f"--teacher {settings.teacher.algorithm}: rtpd distill has the teacher it is given"
        )
    found = None if teacher_normalize is None else pretrained.statistics(Path(teacher_normalize))
    how = Reading(teacher_output, teacher_scale, found)
    if callable(teacher):
        policies = _of_function(teacher, settings, how)
        source = next(iter(policies.values())).provenance["source"]["function"]
    else:
        policies, source = teachers_of(Path(teacher), settings, how), str(Path(teacher))
    given, settings = settings, _of_its_game(settings, source, policies)
    has_q = all(policy.head.gives_q for policy in policies.values())
    net = Config(teacher=TeacherConfig(net=settings.teacher.net))
    check_used(given, usual_of(preset), net, has_q=has_q)
    validation.check_followed(settings, f"the teacher of '{source}'", has_q=has_q)
    if any(isinstance(policy, HostPolicy) for policy in policies.values()):
        settings = _asked_once(settings)
    validation.validate(settings, None)
    about = {"distilled_from": source}
    return train.begin(
        settings, policies, about, out=out, preset=preset, monitor=monitor, track=track
    )


Teachers = dict[str, Policy | HostPolicy]
"""The teacher of each game, by its short name."""


def teachers_of(path: Path, settings: Config, how: Reading = Reading()) -> Teachers:
    """The teachers of a run, or that of an agent's file."""
    pretrained.check_is_agent(path)
    foreign = pretrained.is_agent(path)
    if how != Reading() and not foreign:
        raise ConfigError(
            f"'{path}' says itself what it sees and answers: no --teacher-... with it"
        )
    if foreign:
        _check_one_game(str(path), settings)
        teacher = pretrained.load(path, settings.env, settings.environment, how)
    elif file_of(path) is not None:
        teacher = load_policy(path)
    elif path.is_dir():
        found = train.frozen_teachers(Run.open(path))
        if not found:
            raise RunError(f"'{path}' holds no teacher")
        return found
    else:
        raise RunError(
            f"'{path}' is no run folder, .safetensors agent, Stable-Baselines3 .zip, "
            ".cleanrl_model or .onnx"
        )
    return {envs.short(teacher.spec.name): teacher}


def _of_function(function: Callable[[np.ndarray], Any], settings: Config, how: Reading) -> Teachers:
    """A function as a teacher, asked once about how episodes begin."""
    how.check()
    if how.scale is not None or how.normalize is not None:
        raise ConfigError("teacher_scale and teacher_normalize are for files: a function does both")
    _check_one_game("a function", settings)
    spec, obs = pretrained.beginning(settings.env, settings.environment)
    teacher = host.of_function(function, spec, how.output)
    teacher.q_values(obs)
    return {envs.short(spec.name): teacher}


def _check_one_game(who: str, settings: Config) -> None:
    """ConfigError unless the settings say which game a teacher plays that does not say it."""
    if len(settings.games) != 1 or not settings.env:
        command = typed("rtpd", "distill", who, "GAME")
        hint = "env='GAME'" if who == "a function" else command
        raise ConfigError(f"'{who}' does not say what it plays: {hint}")
    envs.check(settings.env)


def _asked_once(settings: Config) -> Config:
    """The settings for a teacher outside of JAX, whose answers are those that it gave in play."""
    settings = replace(settings, student=replace(settings.student, targets="stored"))
    for student in parse_students(settings):
        if student.settings.targets != "stored":
            raise ConfigError(
                f"student '{student.text}': a teacher outside of JAX is asked once a frame: "
                "allowed: targets=stored"
            )
    return settings


def _of_its_game(settings: Config, source: str, policies: Teachers) -> Config:
    """The settings with the teachers' games; ConfigError if others are asked for."""
    plays = "+".join(policy.spec.name for policy in policies.values())
    asked = settings.env and "+".join(envs.canonical(name) for name in settings.games.values())
    if asked and asked != plays:
        raise ConfigError(f"'{settings.env}': the teacher of '{source}' plays {plays}")
    known = next(iter(policies.values())).provenance.get("environment")
    options = from_dict({"environment": known or {}}, source).environment
    return adapted(settings, plays, options, next(iter(policies.values())).provenance["net"])


def adapted(settings: Config, env: str, played_with: EnvOptions, net: str) -> Config:
    """The settings for a teacher that played `env` with some options, and has a certain net.

    Options that are not set are those that it played with; the manifest names its net.
    """
    untouched = settings.environment == EnvOptions()
    return replace(
        settings,
        env=env,
        environment=played_with if untouched else settings.environment,
        teacher=replace(settings.teacher, algorithm="frozen", net=net),
    )
