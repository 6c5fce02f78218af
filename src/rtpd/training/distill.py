"""Two-stage distillation: students of a pretrained teacher."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from rtpd import envs
from rtpd.agents.formats import cleanrl, sb3
from rtpd.agents.store import file_of, load_policy
from rtpd.config.loading import from_dict, load_config
from rtpd.config.settings import Config
from rtpd.envs import EnvOptions
from rtpd.errors import ConfigError, RunError, typed
from rtpd.networks.policy import Policy
from rtpd.storage.run_folder import Run
from rtpd.system.process import settled
from rtpd.training import train, validation
from rtpd.training.monitor import Monitor

PRESET = "distill"


@settled()
def distill(
    teacher: str | Path,
    settings: Config | None = None,
    *,
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
            PPO or A2C or an sb3-contrib QR-DQN, or the .cleanrl_model of a CleanRL DQN or PPO
            (read without PyTorch; `settings` must say which game). Of PPO and A2C students follow
            the policy's logits.
        settings: what to do; None takes the preset `distill`. Without an `env` the teacher's own
            game is played, and with untouched `environment` options as it was played then. With
            an untouched temperature logits are followed as they are, at 1.
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
    if not settings.teacher.is_frozen:
        raise ConfigError(
            f"--teacher {settings.teacher.algorithm}: rtpd distill has the teacher it is given"
        )
    path = Path(teacher)
    policies = teachers_of(path, settings)
    settings = _of_its_game(settings, path, policies)
    if not all(policy.head.gives_q for policy in policies.values()):
        validation.check_losses(settings, f"the teacher of '{path}'")
        settings = validation.followed_at_1(settings)
    about = {"distilled_from": str(path)}
    return train.begin(
        settings, policies, about, out=out, preset=preset, monitor=monitor, track=track
    )


def teachers_of(path: Path, settings: Config) -> dict[str, Policy]:
    """The teachers of a run, or that of an agent's file, by the short name of their game."""
    reader = next((reader for reader in (cleanrl, sb3) if reader.is_agent(path)), None)
    if file_of(path) is not None:
        teacher = load_policy(path)
    elif path.is_dir() and reader is None:
        found = train.frozen_teachers(Run.open(path))
        if not found:
            raise RunError(f"'{path}' holds no teacher")
        return found
    elif reader is not None or path.suffix == ".zip":
        if len(settings.games) != 1 or not settings.env:
            command = typed("rtpd", "distill", path, "GAME")
            raise ConfigError(f"'{path}' does not say what it plays: {command}")
        envs.check(settings.env)
        teacher = (reader or sb3).load(path, settings.env, settings.environment)
    else:
        raise RunError(
            f"'{path}' is no run folder, .safetensors agent, Stable-Baselines3 .zip or "
            ".cleanrl_model"
        )
    return {envs.short(teacher.spec.name): teacher}


def _of_its_game(settings: Config, path: Path, policies: dict[str, Policy]) -> Config:
    """The settings with the teachers' games; ConfigError if others are asked for."""
    plays = "+".join(policy.spec.name for policy in policies.values())
    asked = settings.env and "+".join(envs.canonical(name) for name in settings.games.values())
    if asked and asked != plays:
        raise ConfigError(f"'{settings.env}': the teacher of '{path}' plays {plays}")
    known = next(iter(policies.values())).provenance.get("environment")
    options = from_dict({"environment": known or {}}, str(path)).environment
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
