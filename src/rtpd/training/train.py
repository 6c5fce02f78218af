"""Start a training, or go on with one: everything is checked before anything is written."""

import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import jax
import msgspec
import numpy as np

from rtpd import envs
from rtpd.agents import store
from rtpd.agents.formats.pretrained import beginning
from rtpd.config.loading import from_dict, load_config, to_dict
from rtpd.config.settings import Config, StudentConfig, TeacherConfig
from rtpd.errors import CheckpointError, ConfigError, DivergedError, RunError
from rtpd.learning.update import Learner
from rtpd.networks.policy import HostPolicy, Policy
from rtpd.storage import checkpoint
from rtpd.storage.agent_id import TEACHER, AgentId
from rtpd.storage.files import contents, sha256
from rtpd.storage.manifest import FUNCTION, Manifest, Resumption, Rollback
from rtpd.storage.provenance import now, provenance
from rtpd.storage.records import RollbackRecord
from rtpd.storage.run_folder import STARTING, Run, check_free, claim, locked, next_folder
from rtpd.system import cpu, memory
from rtpd.system.process import settled
from rtpd.training import snapshots, validation
from rtpd.training.collector import emulators, replay_of
from rtpd.training.divergence import MOST_ROLLBACKS
from rtpd.training.monitor import Monitor
from rtpd.training.trackers import trackers
from rtpd.training.trainer import Trainer
from rtpd.training.unused import usual_of
from rtpd.training.validation import default_preset
from rtpd.types import EnvSpec, VectorEnv


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
        preset: name of the preset that `settings` came from, for the manifest. What differs from it
            counts as asked for, so that it is refused where the teacher does not use it.
        monitor: told of the progress; None is silent.
        track: names of other tools that are told the metrics too (`training.trackers.TRACKERS`).

    Returns:
        A summary with "run" (path), "status" ("finished" or "interrupted"), "step", "frames",
        "seconds", "agents" ({name: net, parameters, share and the final evaluation}), "next".

    Raises:
        RequestError: if the request cannot be met; nothing has been written then.
    """
    if settings is None:
        preset = preset or default_preset()
        settings = load_config(preset)
    if settings.teacher.is_frozen:
        raise ConfigError("--teacher frozen: rtpd distill TEACHER has students of a given teacher")
    validation.validate(settings, usual_of(preset))
    return begin(settings, out=out, preset=preset, monitor=monitor, track=track)


def begin(
    settings: Config,
    policies: Mapping[str, Policy | HostPolicy] | None = None,
    about: Mapping[str, Any] | None = None,
    *,
    out: str | Path | None,
    preset: str | None,
    monitor: Monitor | None,
    track: tuple[str, ...],
) -> dict[str, Any]:
    """What `train` and `distill` do once the settings are complete and valid.

    `policies` are those of frozen teachers by game, `about` goes into the manifest.
    """
    policies = policies or {}
    numbered = Path("runs"), "+".join(settings.games)
    check_free(Path(out) if out else next_folder(*numbered))
    monitors = [monitor or Monitor(), *trackers(track)]
    with emulators(settings) as emulated:
        specs = {game: env.spec for game, env in emulated.items()}
        validation.check_alike(specs)
        is_image = next(iter(specs.values())).is_image
        settings = validation.resolve(settings, is_image=is_image)
        check_memory(settings, specs)
        for game, teacher in policies.items():
            validation.check_same(f"the teacher of '{game}'", teacher.spec, "the game", specs[game])
        learner = Learner(settings, specs, policies)
        manifest = Manifest(
            status=STARTING,
            id=uuid.uuid4().hex,
            preset=preset,
            seed=settings.seed,
            frames_per_step=next(iter(specs.values())).frames_per_step,
            agents=snapshots.describe(learner),
            config=to_dict(settings),
            **provenance(_device()),
            **(about or {}),
        )
        path = Path(out) if out else claim(*numbered)
        with locked(path):
            run = Run.create(path, msgspec.to_builtins(manifest))
            for game, teacher in policies.items():  # to go on without their source
                store.save(run.agent_path(learner.agent(game, TEACHER)), teacher)
            run.note(status="running", frozen={name: _weights(run, name) for name in run.agents})
            with run.noting_its_end():
                return _go(run, settings, emulated, monitors, policies)


@settled()
def resume(
    run: str | Path,
    *,
    steps: int | None = None,
    minutes: float | None = None,
    on_divergence: Literal["stop", "rollback"] | None = None,
    teacher: Callable[[np.ndarray], Any] | None = None,
    monitor: Monitor | None = None,
    track: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Go on with a run from its newest good checkpoint; returns what `train` does.

    `steps`, `minutes` and `on_divergence` replace the run's own; a finished run needs a higher
    `steps`. One stopped before its first checkpoint begins anew. A run that distils a Python
    function needs it again, as `teacher`. RunError names another process that is writing to the
    folder.
    """
    path = Run.open(Path(run)).path
    with locked(path):
        folder = Run.open(path)  # again, since its last writer may just have ended
        folder.tidy()
        limits = {"steps": steps, "minutes": minutes, "on_divergence": on_divergence}
        data = dict(folder.manifest["config"])
        data |= {name: value for name, value in limits.items() if value is not None}
        settings = from_dict(data, f"{path}/manifest.json")
        validation.validate(settings, None)
        reached, status = folder.about.step or 0, folder.about.status
        if status == "finished" and settings.steps <= reached:
            raise RunError(f"'{run}' is finished: --steps above {reached} would go on with it")
        monitors = [monitor or Monitor(), *trackers(track)]
        with emulators(settings) as emulated:
            check_memory(settings, {game: env.spec for game, env in emulated.items()})
            policies = _own_teachers(folder, settings, teacher)
            with folder.noting_its_end():
                return _go(folder, settings, emulated, monitors, policies, resumed=True)


def _go(
    run: Run, settings: Config, emulated: Mapping[str, VectorEnv], monitors: list[Monitor],
    policies: Mapping[str, Policy | HostPolicy], *, resumed: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Train to the end, over rollbacks if the settings ask for them."""
    kind, entry = "resumed", Resumption()
    while True:
        trainer = Trainer(run, settings, emulated, monitors, policies)
        if resumed:
            trainer.restore()
            where = {"step": trainer.progress.step, "at": now(), "steps": settings.steps}
            entry = msgspec.structs.replace(entry, **where)
            if kind == "resumed":
                _warn_of_another_cpu(trainer)
            entries = [*run.manifest.get(kind, []), msgspec.to_builtins(entry)]
            run.note(status="running", **{kind: entries}, config=to_dict(settings))
        if kind == "rollbacks":
            run.append(msgspec.to_builtins(RollbackRecord(**msgspec.structs.asdict(entry))))
        try:
            return trainer.run()
        except DivergedError as error:
            settings, entry = _slower(run, settings, error)
        del trainer  # its replay goes before the next one comes
        kind, resumed = "rollbacks", True


def _warn_of_another_cpu(trainer: Trainer) -> None:
    """In one line: what another kind of processor rounds in another way is not bit for bit."""
    before, here = trainer.folder.about.cpu_features, cpu.kind()
    if before is not None and before != here:
        trainer.logger.warn(
            f"this CPU ({' '.join(here) or 'no known features'}) is of another kind than the one "
            f"that the run began on ({' '.join(before) or 'no known features'}): what follows is "
            "sound, but not bit for bit what it would have been there"
        )


def _slower(run: Run, settings: Config, error: DivergedError) -> tuple[Config, Rollback]:
    """The settings with half the learning rates, and a note of it; `error` if that is not to be."""
    good = checkpoint.newest(run.checkpoints)
    if settings.on_divergence == "stop":
        hint = "--on-divergence rollback goes back to the last checkpoint with lower rates"
        raise DivergedError(f"{error}; {hint}") from None
    if not good:
        raise DivergedError(f"{error}; there is no checkpoint to go back to") from None
    if len(run.about.rollbacks) >= MOST_ROLLBACKS:
        raise DivergedError(f"{error}; rolled back {MOST_ROLLBACKS} times already") from None

    def halved[Part: (TeacherConfig, StudentConfig)](part: Part) -> Part:
        rate = part.optimizer.learning_rate / 2
        return replace(part, optimizer=replace(part.optimizer, learning_rate=rate))

    teacher, student = halved(settings.teacher), halved(settings.student)
    entry = Rollback(
        why=str(error),
        teacher_learning_rate=teacher.optimizer.learning_rate,
        student_learning_rate=student.optimizer.learning_rate,
    )
    return replace(settings, teacher=teacher, student=student), entry


def frozen_teachers(run: Run) -> dict[str, Policy | HostPolicy]:
    """The teachers that a run has saved, by game."""
    names = [name for name in run.agents if AgentId.parse(name).is_teacher]
    found = [store.load_any(run.agent_path(name)) for name in names]
    return {envs.short(teacher.spec.name): teacher for teacher in found}


def _own_teachers(
    run: Run, settings: Config, function: Callable[[np.ndarray], Any] | None
) -> dict[str, Policy | HostPolicy]:
    """The frozen teachers with which a run goes on: those that it began with."""
    is_function = settings.teacher.net == FUNCTION
    if is_function != (function is not None):
        given = "is needed again: rtpd.resume(RUN, teacher=FUNCTION)"
        raise RunError(
            f"'{run.path}' distils {run.about.distilled_from}, which {given}"
            if is_function
            else f"'{run.path}' has a teacher of its own: a function is not needed"
        )
    if not settings.teacher.is_frozen:
        return {}
    if function is not None:
        (game,) = settings.games
        found = store.function_of(run.agent_path(TEACHER), function)
        found.q_values(beginning(settings.env, settings.environment)[1])  # refused before it plays
        return {game: found}
    found = frozen_teachers(run)
    if len(found) < len(settings.games):
        starting = run.about.status == STARTING
        hint = "start it again with the same --out" if starting else "it is lost"
        raise RunError(f"'{run.path}' does not hold the teacher that it distils: {hint}")
    for name, digest in run.about.frozen.items():
        if _weights(run, name) != digest:
            raise CheckpointError(f"{run.agent_path(name)} is not the teacher of this run")
    return found


def _weights(run: Run, name: str) -> str:
    """The digest of an agent's weights, by which a frozen teacher is known again."""
    return sha256(contents(run.agent_path(name)))


def check_memory(settings: Config, specs: Mapping[str, EnvSpec]) -> int:
    """ConfigError unless the replays fit what is free; returns their bytes."""
    needed = sum(replay_of(settings, spec).num_bytes for spec in specs.values())
    reserve = memory.program_bytes(len(specs) * settings.num_envs)
    memory.check_replay(needed, memory.free_bytes(), settings.replay.capacity, reserve)
    return needed


def _device() -> str:
    device = jax.devices()[0]
    return "cpu" if device.platform == "cpu" else device.device_kind
