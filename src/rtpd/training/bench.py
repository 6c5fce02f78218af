"""How fast this machine trains: the parts of the loop one by one, and the loop as a whole.

The loops of all families are alive at once and take turns, so that what else the machine does
falls on all of them; a ratio is taken within a turn.
"""

import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import psutil

from rtpd import envs
from rtpd.config.loading import load_config, presets
from rtpd.config.settings import Config
from rtpd.errors import ConfigError
from rtpd.learning import replay as ring
from rtpd.learning.teachers import TEACHERS
from rtpd.learning.update import Learner
from rtpd.storage.run_folder import Run, provenance
from rtpd.system.process import settled
from rtpd.training import snapshots, validation
from rtpd.training.collector import replay_columns, replay_rows
from rtpd.training.monitor import Monitor
from rtpd.training.trainer import Trainer
from rtpd.types import EnvSpec, VectorEnv

FAMILIES: dict[str, tuple[str, ...]] = {
    "none": (),
    "net1.7": ("net1.7:kl",),
    "paper": ("net25:kl", "net7:kl", "net4:kl", "net1.7:kl"),
    "all": ("net25:kl", "net7:kl", "net4:kl", "net1.7:kl", "net0.5:kl", "net0.1:kl"),
}
CAPACITY = 20_000  # transitions of replay a family, since all are alive at once
PART_SECONDS = 3.0
SETTLING_SECONDS = 1.0  # of a loop before it is measured


@settled()
def bench(
    settings: Config,
    *,
    rounds: int = 5,
    seconds: float = 10.0,
    tell: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Measure `settings` on this machine, with no students and with each family in turn.

    Args:
        settings: what would be trained. Its students are the family; `auto` stands for `FAMILIES`
            on an Atari game.
        rounds: turns of every loop.
        seconds: wall time of a turn.
        tell: told what is being measured.

    Returns:
        JSON-ready: where it was measured, "matmul_gflops" (f32), "emulator_steps_per_second",
        "rss_bytes", and "families": {name: {"students", "update_ms", "update_gflop",
        "update_gflops", "share_of_matmul", "milliseconds_per_iteration" ({part: ms}, an iteration
        being one step of every env), "loop_steps_per_second" (median of "rounds"), "ratio" to the
        loop without students (median of "ratios")}}.

    Raises:
        RequestError: if the settings cannot be met.
    """
    if rounds < 1 or not 0 < seconds < math.inf:
        raise ConfigError(f"--rounds {rounds} --seconds {seconds}: both must be above 0")
    validation.validate(settings)
    if len(settings.games) > 1:
        raise ConfigError(f"'{settings.env}': one game at a time is measured")
    tell("matrix products")
    result: dict[str, Any] = {
        "env": settings.env,
        "num_envs": settings.num_envs,
        "teacher": settings.teacher.algorithm,
        "matmul_gflops": round(matmul_gflops(), 1),
        **provenance(jax.devices()[0].device_kind),
    }
    with TemporaryDirectory() as folder:
        loops = {}
        for name, students in _families(settings).items():
            tell(f"compiling: {name}")
            loops[name] = _Loop(replace(settings, students=students), Path(folder) / name)
        try:
            tell("the emulator alone")
            result["emulator_steps_per_second"] = round(emulator_rate(loops["none"].env), 1)
            result["cadence"] = loops["none"].trainer.learner.schedule.cadence
            result["families"] = {}
            for name, loop in loops.items():
                tell(f"parts of the loop: {name}")
                result["families"][name] = loop.parts(result["matmul_gflops"])
            _take_turns(loops, rounds, seconds, result["families"], tell)
        finally:
            for loop in loops.values():
                loop.env.close()
    result["rss_bytes"] = psutil.Process().memory_info().rss
    return result


@settled()
def teachers(
    *,
    seconds: float | None = None,
    env: str = "ale/pong",
    tell: Callable[[str], None] = lambda text: None,
) -> dict[str, dict[str, Any]]:
    """What each teacher is and takes, and how fast it learns here with a small student beside it.

    Args:
        seconds: wall time of each teacher's loop; None measures nothing.
        env: what is played then.
        tell: told what is being measured.

    Returns:
        JSON-ready {teacher: {"paper", "regime" ("replay" or "rollout"), "atoms" (outputs per
        action), "preset" (the one of its name, else the first that uses it), "replay_bytes" (of
        that preset, of Atari frames)}}, and if measured "update_ms" and "loop_steps_per_second"
        with that preset. Updates differ in size and pace, so it is the steps/s that compare.
    """
    users = {name: load_config(name) for name in presets()}
    if seconds is not None and not 0 < seconds < math.inf:
        raise ConfigError(f"--seconds {seconds}: must be above 0")
    found: dict[str, dict[str, Any]] = {}
    for name, algorithm in TEACHERS.items():
        first = next(preset for preset, used in users.items() if used.teacher.algorithm == name)
        preset = name if name in users else first
        settings = replace(users[preset], env=env, students=("auto",))
        atari = EnvSpec("ale/any", 18, (84, 84))
        size = ring.num_bytes(
            replay_rows(settings), settings.num_envs, atari.frame_shape, atari.frame_dtype,
            **replay_columns(settings, atari),
        )  # fmt: skip
        found[name] = {
            "paper": algorithm.paper,
            "regime": "rollout" if algorithm.on_policy else "replay",
            "atoms": algorithm.head.atoms,
            "preset": preset,
            "replay_bytes": size,
        }
        if seconds is not None:
            tell(name)
            found[name] |= _speed(settings, seconds)
    return found


def _speed(settings: Config, seconds: float) -> dict[str, Any]:
    with TemporaryDirectory() as folder:
        loop = _Loop(settings, Path(folder) / "run")
        try:
            loop.rate(SETTLING_SECONDS)
            rate = loop.rate(seconds)
            return {"update_ms": loop.update_ms(), "loop_steps_per_second": rate}
        finally:
            loop.env.close()


def matmul_gflops(size: int = 2048, repeats: int = 10) -> float:
    """The machine's best rate at a square f32 matrix product, in 10^9 operations/s."""
    product = jax.jit(jnp.matmul)
    matrix = jnp.ones((size, size), jnp.float32)
    best = min(_timed(lambda: product(matrix, matrix)) for _ in range(repeats + 1))
    return 2 * size**3 / best / 1e9


def emulator_rate(env: VectorEnv, seconds: float = PART_SECONDS) -> float:
    """Agent steps/s of the envs alone, under uniformly random actions."""
    rng, steps = np.random.default_rng(0), 0
    num_envs = env.reset(0).first.shape[0]
    start = time.perf_counter()
    while time.perf_counter() - start < seconds:
        env.send(rng.integers(0, env.spec.num_actions, num_envs))
        env.recv()
        steps += num_envs
    return steps / (time.perf_counter() - start)


class _Loop:
    """A trainer that goes on for as long as it is asked to, and saves nothing."""

    def __init__(self, settings: Config, folder: Path) -> None:
        """Play the warm-up and compile everything."""
        warmup = min(settings.replay.warmup_steps, 1_000)
        capacity = min(settings.replay.capacity, CAPACITY)
        least = validation.least_replay(settings)
        memory = replace(
            settings.replay, warmup_steps=max(warmup, least), capacity=max(capacity, least)
        )
        settings = replace(settings, replay=memory, log_steps=10**9, checkpoint_steps=0)
        settings = replace(settings, evaluation=replace(settings.evaluation, period_steps=0))
        self.env = envs.make(settings.env, settings.num_envs, settings.environment)
        settings = validation.resolve(settings, is_image=self.env.spec.is_image)
        (game,) = settings.games
        about = snapshots.describe(Learner(settings, {game: self.env.spec}))
        run = Run.create(folder, {"config": {}, "agents": about})
        self.trainer = Trainer(run, settings, {game: self.env}, [Monitor()])
        self.collector = self.trainer.collectors[game]
        self.trainer.restart_envs()
        while self.trainer.progress.updates < 2:
            self.trainer.step()
        self._settle()

    def _settle(self) -> None:
        """Wait for all that has been dispatched."""
        jax.block_until_ready((self.trainer.state, self.collector.replay, self.collector.action))

    def rate(self, seconds: float) -> float:
        """Agent steps/s of the loop as it is."""
        start, before = time.perf_counter(), self.trainer.progress.step
        while time.perf_counter() - start < seconds:
            self.trainer.step()
        self._settle()
        return (self.trainer.progress.step - before) / (time.perf_counter() - start)

    def update_ms(self) -> float:
        """What an update takes by itself."""
        return self._median(self.trainer.update)

    def parts(self, peak_gflops: float) -> dict[str, Any]:
        """What each part of an iteration takes by itself, with nothing beside it."""
        trainer, due = self.trainer, self.trainer.progress.updates
        update = self.update_ms()
        updates = trainer.config.num_envs / trainer.learner.schedule.steps_per_update
        step_ms = {
            "emulating": self._median(self._emulate),
            "updating": update * updates,
            "acting": self._median(trainer.choose),
            "copying": self._median(self.collector.store),
        }
        trainer.progress.updates = due  # or the loop would rest until these were due
        trainer.restart_envs()  # `_emulate` left the replay behind
        lowered = trainer._update.lower(
            trainer.state, trainer.totals, trainer.replays, trainer.rollout
        )
        gflop = (lowered.cost_analysis() or {}).get("flops", math.nan) / 1e9
        return {
            "students": list(trainer.config.students),
            "update_ms": update,
            "update_gflop": gflop,
            "update_gflops": 1e3 * gflop / update,
            "share_of_matmul": 1e3 * gflop / update / peak_gflops,
            "milliseconds_per_iteration": step_ms,
        }

    def _median(self, part: Callable[[], None]) -> float:
        """Median milliseconds over `PART_SECONDS`."""

        def whole() -> None:
            part()
            self._settle()

        whole()
        times, start = [], time.perf_counter()
        while time.perf_counter() - start < PART_SECONDS or len(times) < 3:
            times.append(_timed(whole))
        return 1e3 * statistics.median(times)

    def _emulate(self) -> None:
        self.collector.send()
        self.collector.receive()


def _families(settings: Config) -> dict[str, tuple[str, ...]]:
    """The families to compare; no students always come first."""
    if settings.students != ("auto",):
        return {"none": (), "given": settings.students}
    if settings.env.startswith("ale/") or "/" not in settings.env:
        return FAMILIES
    return {"none": (), "auto": ("auto",)}


def _take_turns(
    loops: Mapping[str, _Loop],
    rounds: int,
    seconds: float,
    families: dict[str, dict[str, Any]],
    tell: Callable[[str], None],
) -> None:
    """Run every loop in every round, in an order that alternates; adds to `families`."""
    rates: dict[str, list[float]] = {name: [] for name in loops}
    for i in range(rounds):
        tell(f"the loop: round {i + 1} of {rounds}")
        for name in list(loops)[:: -1 if i % 2 else 1]:
            rates[name].append(loops[name].rate(seconds))
    for name, row in families.items():
        ratios = [rate / none for rate, none in zip(rates[name], rates["none"], strict=True)]
        row["loop_steps_per_second"] = statistics.median(rates[name])
        row["rounds"] = rates[name]
        row["ratio"] = statistics.median(ratios)
        row["ratios"] = ratios


def _timed(work: Callable[[], Any]) -> float:
    """Wall seconds until all that `work` returns is there."""
    start = time.perf_counter()
    jax.block_until_ready(work())
    return time.perf_counter() - start
