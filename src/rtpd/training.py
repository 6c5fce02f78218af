"""Start a training, or go on with one: everything is checked before anything is written."""

from pathlib import Path
from typing import Any

import jax

from rtpd import agents, checkpoint, config, envs, memory, validate
from rtpd import replay as ring
from rtpd.config import Config
from rtpd.errors import RunError
from rtpd.learner import Learner
from rtpd.monitor import Monitor
from rtpd.run import Run, check_free, next_folder, now, provenance
from rtpd.session import Session, replay_rows
from rtpd.track import TensorBoard
from rtpd.types import EnvSpec
from rtpd.validate import default_preset


def train(
    settings: Config | None = None,
    *,
    out: str | Path | None = None,
    preset: str | None = None,
    monitor: Monitor | None = None,
    tensorboard: bool = False,
) -> dict[str, Any]:
    """Train a teacher and its students at once.

    Args:
        settings: what to do; None takes the preset of the device as it is.
        out: a new or empty folder for the run; None makes runs/NAME-N.
        preset: name of the preset that `settings` came from, for the manifest.
        monitor: told of the progress; None is silent.
        tensorboard: also write TensorBoard events into the run folder (`track` extra).

    Returns:
        The summary: "run" (path), "status" ("finished" or "interrupted"), "step", "frames",
        "seconds", "agents" ({name: net, parameters, share and the final evaluation}), "next".

    Raises:
        RequestError: if the request cannot be met; nothing has been written then.
    """
    if settings is None:
        preset = preset or default_preset()
        settings = config.load_config(preset)
    validate.validate(settings)
    path = Path(out) if out else next_folder(Path("runs"), settings.env.rpartition("/")[2])
    check_free(path)
    monitors = _monitors(monitor, path if tensorboard else None)
    env = envs.make(settings.env, settings.num_envs, settings.environment)
    try:
        settings = validate.resolve(settings, is_image=env.spec.is_image)
        check_memory(settings, env.spec)
        manifest = {
            "status": "running",
            "preset": preset,
            "seed": settings.seed,
            **provenance(_device()),
            "frames_per_step": env.spec.frames_per_step,
            "agents": agents.describe(Learner(settings, env.spec)),
            "config": config.to_dict(settings),
        }
        return Session(Run.create(path, manifest), settings, env, monitors).go()
    finally:
        env.close()


def resume(
    run: str | Path,
    *,
    steps: int | None = None,
    minutes: float | None = None,
    monitor: Monitor | None = None,
    tensorboard: bool = False,
) -> dict[str, Any]:
    """Go on with a run from its newest good checkpoint; returns what `train` does.

    `steps` and `minutes` replace the run's own limits; a finished run needs a higher `steps`.
    """
    folder = Run.open(Path(run))
    limits = {"steps": steps, "minutes": minutes}
    data = dict(folder.manifest["config"])
    data |= {name: value for name, value in limits.items() if value is not None}
    settings = config.from_dict(data, f"{folder.path}/manifest.json")
    validate.validate(settings)
    if folder.manifest.get("status") == "finished" and settings.steps <= folder.manifest["step"]:
        reached = folder.manifest["step"]
        raise RunError(f"'{run}' is finished: --steps above {reached} would go on with it")
    if not checkpoint.newest(folder.checkpoints):
        raise RunError(f"'{run}' holds no checkpoint to go on from")
    monitors = _monitors(monitor, folder.path if tensorboard else None)
    env = envs.make(settings.env, settings.num_envs, settings.environment)
    try:
        check_memory(settings, env.spec)
        session = Session(folder, settings, env, monitors)
        session.restore()
        resumed = {"step": session.progress.step, "at": now(), "steps": settings.steps}
        folder.note(
            status="running",
            resumed=[*folder.manifest.get("resumed", []), resumed],
            config=config.to_dict(settings),
        )
        return session.go()
    finally:
        env.close()


def check_memory(settings: Config, spec: EnvSpec) -> int:
    """ConfigError unless the replay fits what is free; returns its bytes."""
    shape = (replay_rows(settings), settings.num_envs, spec.frame_shape, spec.frame_dtype)
    needed = ring.num_bytes(*shape, prioritised=bool(settings.replay.priority))
    reserve = memory.program_bytes(settings.num_envs)
    memory.check_replay(needed, memory.free_bytes(), settings.replay.capacity, reserve)
    return needed


def _monitors(monitor: Monitor | None, events: Path | None) -> list[Monitor]:
    return [monitor or Monitor(), *([TensorBoard(events)] if events else [])]


def _device() -> str:
    device = jax.devices()[0]
    return "cpu" if device.platform == "cpu" else device.device_kind
