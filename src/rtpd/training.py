"""Start a training, or go on with one: everything is checked before anything is written."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import jax

from rtpd import agents, checkpoint, config, envs, memory, policy, validate
from rtpd import replay as ring
from rtpd.config import Config, StudentConfig, TeacherConfig
from rtpd.errors import ConfigError, DivergedError, RunError
from rtpd.health import MOST_ROLLBACKS
from rtpd.lane import emulators, replay_columns, replay_rows
from rtpd.learner import Learner
from rtpd.monitor import Monitor
from rtpd.process import settled
from rtpd.run import Run, check_free, locked, next_folder, now, provenance
from rtpd.session import Session
from rtpd.track import trackers
from rtpd.types import EnvSpec, Policy, VectorEnv, teacher_of
from rtpd.validate import default_preset


@settled()
def train(
    settings: Config | None = None,
    *,
    out: str | Path | None = None,
    preset: str | None = None,
    monitor: Monitor | None = None,
    track: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Train a teacher and its students at once.

    Args:
        settings: what to do; None takes the preset of the device as it is.
        out: a new or empty folder for the run; None makes runs/NAME-N.
        preset: name of the preset that `settings` came from, for the manifest.
        monitor: told of the progress; None is silent.
        track: names of other tools that are told the metrics too (`rtpd.track.TRACKERS`).

    Returns:
        A summary with "run" (path), "status" ("finished" or "interrupted"), "step", "frames",
        "seconds", "agents" ({name: net, parameters, share and the final evaluation}), "next".

    Raises:
        RequestError: if the request cannot be met; nothing has been written then.
    """
    if settings is None:
        preset = preset or default_preset()
        settings = config.load_config(preset)
    if settings.teacher == "frozen":
        raise ConfigError("--teacher frozen: rtpd distill TEACHER has students of a given teacher")
    return begin(settings, out=out, preset=preset, monitor=monitor, track=track)


def begin(
    settings: Config,
    policies: Mapping[str, Policy] | None = None,
    about: Mapping[str, Any] | None = None,
    *,
    out: str | Path | None,
    preset: str | None,
    monitor: Monitor | None,
    track: tuple[str, ...],
) -> dict[str, Any]:
    """What `train` and `distill` do once the settings are complete.

    `policies` are those of frozen teachers by game, `about` goes into the manifest.
    """
    validate.validate(settings)
    policies = policies or {}
    path = Path(out) if out else next_folder(Path("runs"), "+".join(settings.games))
    check_free(path)
    monitors = [monitor or Monitor(), *trackers(track, path)]
    with emulators(settings) as lanes:
        specs = {game: env.spec for game, env in lanes.items()}
        validate.check_alike(specs)
        settings = validate.resolve(settings, is_image=next(iter(specs.values())).is_image)
        check_memory(settings, specs)
        for game, teacher in policies.items():
            validate.check_same(f"the teacher of '{game}'", teacher.spec, "the game", specs[game])
        learner = Learner(settings, specs, policies)
        manifest = {
            "status": "running",
            "preset": preset,
            "seed": settings.seed,
            **provenance(_device()),
            "frames_per_step": next(iter(specs.values())).frames_per_step,
            "agents": agents.describe(learner),
            **(about or {}),
            "config": config.to_dict(settings),
        }
        with locked(path):
            run = Run.create(path, manifest)
            with run.noting_its_end():
                for game, teacher in policies.items():  # to go on without their source
                    policy.save(run.agent_path(learner.agent(game, "teacher")), teacher)
                return _go(run, settings, lanes, monitors, policies)


@settled()
def resume(
    run: str | Path,
    *,
    steps: int | None = None,
    minutes: float | None = None,
    on_divergence: Literal["stop", "rollback"] | None = None,
    monitor: Monitor | None = None,
    track: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Go on with a run from its newest good checkpoint; returns what `train` does.

    `steps`, `minutes` and `on_divergence` replace the run's own; a finished run needs a higher
    `steps`. One stopped before its first checkpoint begins anew. RunError names another process
    that is writing to the folder.
    """
    path = Run.open(Path(run)).path
    with locked(path):
        folder = Run.open(path)  # again, since its last writer may just have ended
        limits = {"steps": steps, "minutes": minutes, "on_divergence": on_divergence}
        data = dict(folder.manifest["config"])
        data |= {name: value for name, value in limits.items() if value is not None}
        settings = config.from_dict(data, f"{path}/manifest.json")
        validate.validate(settings)
        reached = folder.manifest.get("step", 0)
        if folder.manifest.get("status") == "finished" and settings.steps <= reached:
            raise RunError(f"'{run}' is finished: --steps above {reached} would go on with it")
        monitors = [monitor or Monitor(), *trackers(track, path)]
        with emulators(settings) as lanes:
            check_memory(settings, {game: env.spec for game, env in lanes.items()})
            policies = frozen_teachers(folder) if settings.teacher == "frozen" else {}
            with folder.noting_its_end():
                return _go(folder, settings, lanes, monitors, policies, resumed=True)


def _go(
    run: Run, settings: Config, lanes: Mapping[str, VectorEnv], monitors: list[Monitor],
    policies: Mapping[str, Policy], *, resumed: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Train to the end, over rollbacks if the settings ask for them."""
    kind, entry = "resumed", {}
    while True:
        session = Session(run, settings, lanes, monitors, policies)
        if resumed:
            session.restore()
            entry |= {"step": session.progress.step, "at": now(), "steps": settings.steps}
            entries = [*run.manifest.get(kind, []), entry]
            run.note(status="running", **{kind: entries}, config=config.to_dict(settings))
        if kind == "rollbacks":
            run.append({"kind": "rollback", **entry})
        try:
            return session.go()
        except DivergedError as error:
            settings, entry = _slower(run, settings, error)
        del session  # its replay goes before the next one comes
        kind, resumed = "rollbacks", True


def _slower(run: Run, settings: Config, error: DivergedError) -> tuple[Config, dict[str, Any]]:
    """The settings with half the learning rates, and a note of it; `error` if that is not to be."""
    good = checkpoint.newest(run.checkpoints)
    if settings.on_divergence == "stop":
        hint = "--on-divergence rollback goes back to the last checkpoint with lower rates"
        raise DivergedError(f"{error}; {hint}") from None
    if not good:
        raise DivergedError(f"{error}; there is no checkpoint to go back to") from None
    if len(run.manifest.get("rollbacks", [])) >= MOST_ROLLBACKS:
        raise DivergedError(f"{error}; rolled back {MOST_ROLLBACKS} times already") from None

    def halved[Part: (TeacherConfig, StudentConfig)](part: Part) -> Part:
        rate = part.optimizer.learning_rate / 2
        return replace(part, optimizer=replace(part.optimizer, learning_rate=rate))

    td, student = halved(settings.td), halved(settings.student)
    entry = {
        "why": str(error),
        "teacher_learning_rate": td.optimizer.learning_rate,
        "student_learning_rate": student.optimizer.learning_rate,
    }
    return replace(settings, td=td, student=student), entry


def frozen_teachers(run: Run) -> dict[str, Policy]:
    """The teachers that a run has saved, by game."""
    names = [name for name in run.agents if name == teacher_of(name)]
    found = [policy.load(run.agent_path(name)) for name in names]
    return {envs.short(teacher.spec.name): teacher for teacher in found}


def check_memory(settings: Config, specs: Mapping[str, EnvSpec]) -> int:
    """ConfigError unless the replays fit what is free; returns their bytes."""
    rows, columns = replay_rows(settings), replay_columns(settings)
    shapes = [(settings.num_envs, spec.frame_shape, spec.frame_dtype) for spec in specs.values()]
    needed = sum(ring.num_bytes(rows, *shape, **columns) for shape in shapes)
    reserve = memory.program_bytes(len(specs) * settings.num_envs)
    memory.check_replay(needed, memory.free_bytes(), settings.replay.capacity, reserve)
    return needed


def _device() -> str:
    device = jax.devices()[0]
    return "cpu" if device.platform == "cpu" else device.device_kind
