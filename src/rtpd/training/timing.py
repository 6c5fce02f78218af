"""A training loop that is timed: the parts of it one by one, and as a whole."""

import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rtpd import envs
from rtpd.config.settings import Config
from rtpd.training import validation
from rtpd.training.host_loop import HostLoop
from rtpd.types import VectorEnv

CAPACITY = 20_000  # transitions of replay a loop, since several may be alive at once
PART_SECONDS = 3.0


def matmul_gflops(size: int = 2048, repeats: int = 10) -> float:
    """The machine's best rate at a square f32 matrix product, in 10^9 operations/s."""
    product = jax.jit(jnp.matmul)
    matrix = jnp.ones((size, size), jnp.float32)
    best = min(timed(lambda: product(matrix, matrix)) for _ in range(repeats + 1))
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


class TimedLoop:
    """A host loop that goes on for as long as it is asked to."""

    def __init__(self, settings: Config) -> None:
        """Play the warm-up and compile everything."""
        warmup = min(settings.replay.warmup_steps, 1_000)
        capacity = min(settings.replay.capacity, CAPACITY)
        least = validation.least_replay(settings)
        memory = replace(
            settings.replay, warmup_steps=max(warmup, least), capacity=max(capacity, least)
        )
        settings = replace(settings, replay=memory)
        self.env = envs.make(settings.env, settings.num_envs, settings.environment)
        settings = validation.resolve(settings, is_image=self.env.spec.is_image)
        (game,) = settings.games
        self.loop = HostLoop(settings, {game: self.env})
        self.collector = self.loop.collectors[game]
        self.loop.restart_envs()
        while self.loop.progress.updates < 2:
            self.loop.step()
        self._settle()

    def _settle(self) -> None:
        """Wait for all that has been dispatched."""
        jax.block_until_ready(
            (self.loop.compiled.state, self.collector.replay, self.collector.action)
        )

    def rate(self, seconds: float) -> float:
        """Agent steps/s of the loop as it is."""
        start, before = time.perf_counter(), self.loop.progress.step
        while time.perf_counter() - start < seconds:
            self.loop.step()
        self._settle()
        return (self.loop.progress.step - before) / (time.perf_counter() - start)

    def update_ms(self) -> float:
        """What an update takes by itself."""
        return self._median(self.loop.update)

    def parts(self, peak_gflops: float) -> dict[str, Any]:
        """What each part of an iteration takes by itself, with nothing beside it."""
        loop, due = self.loop, self.loop.progress.updates
        update = self.update_ms()
        updates = loop.config.num_envs / loop.learner.schedule.steps_per_update
        step_ms = {
            "emulating": self._median(self._emulate),
            "updating": update * updates,
            "acting": self._median(loop.choose),
            "copying": self._median(self.collector.store),
        }
        loop.progress.updates = due  # or the loop would rest until these were due
        loop.restart_envs()  # `_emulate` left the replay behind
        gflop = loop.compiled.update_gflop(loop.replays)
        return {
            "students": list(loop.config.students),
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
            times.append(timed(whole))
        return 1e3 * statistics.median(times)

    def _emulate(self) -> None:
        self.collector.send()
        self.collector.receive()


def timed(work: Callable[[], Any]) -> float:
    """Wall seconds until all that `work` returns is there."""
    start = time.perf_counter()
    jax.block_until_ready(work())
    return time.perf_counter() - start
