"""One game of a run: its emulators, its replay, and what its teacher does there."""

from functools import partial

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, PRNGKeyArray

from rtpd import actor, nets
from rtpd import replay as ring
from rtpd.config import Config
from rtpd.episodes import Episode, Episodes
from rtpd.models import acting_net
from rtpd.teaching import TeacherState, Teaching
from rtpd.types import Preprocess, VectorEnv


class Lane:
    """A step of it is `send`, `receive`, `store`, `choose`; emulators run after `send`."""

    def __init__(self, settings: Config, env: VectorEnv, teaching: Teaching) -> None:
        """An empty replay; `restart` begins to play."""
        self.config, self.env, self.spec = settings, env, env.spec
        self.replay = ring.init(
            replay_rows(settings), settings.num_envs, env.spec.frame_shape, env.spec.frame_dtype,
            prioritised=bool(settings.replay.priority),
        )  # fmt: skip
        self._add = jax.jit(ring.add, donate_argnums=0)
        self._seal = jax.jit(ring.seal, donate_argnums=0)
        self._act = jax.jit(partial(_act, teaching))

    def restart(self, step: int) -> None:
        """Start every env anew from a seed of (run's seed, step)."""
        settings, spec = self.config, self.spec
        seed = np.random.SeedSequence((settings.seed, step)).generate_state(1)[0]
        self.timestep = self.env.reset(int(seed >> 1))
        self.episodes = Episodes(settings.num_envs)
        self.stack = jnp.zeros((settings.num_envs, spec.stack, *spec.frame_shape), spec.frame_dtype)
        self._key = jr.fold_in(jr.key(settings.seed), 1)

    def seal(self) -> None:
        """Let no window of the replay cross what comes next: the envs will be restarted."""
        self.replay = self._seal(self.replay)

    def choose(self, teacher: TeacherState, step: int, epsilon: float) -> None:
        """Begin to choose the actions that come after `step`."""
        self.stack, self.action = self._act(
            acting_net(teacher.model), teacher.sees, self.stack, self.timestep.frame,
            self.timestep.first, self._key, np.int32(step), np.float32(epsilon),
        )  # fmt: skip

    def send(self) -> None:
        """Begin a step of the emulators."""
        self._sent = np.asarray(self.action)
        self.env.send(self._sent)

    def receive(self) -> list[Episode]:
        """Wait for that step; the episodes that it ended."""
        self._seen, self.timestep = self.timestep, self.env.recv()
        return self.episodes.add(self.timestep)

    def store(self) -> None:
        """Write the row that the step began with, now that what came of it is known."""
        seen = self._seen
        self.replay = self._add(
            self.replay, seen.frame, self._sent, self.timestep.reward,
            seen.first, self.timestep.terminal, seen.last,
        )  # fmt: skip


def replay_rows(settings: Config) -> int:
    """Rows of the ring: the replay's capacity shared among the envs."""
    return settings.replay.capacity // settings.num_envs


def _act(
    teaching: Teaching, net: nets.QNet, preprocess: Preprocess, stack: Array, frame: ArrayLike,
    first: ArrayLike, key: PRNGKeyArray, step: ArrayLike, epsilon: ArrayLike,
) -> tuple[Array, Array]:  # fmt: skip
    """The teacher's epsilon-greedy actions, the random key derived from the step.

    A noisy net draws its weights once per step, for all envs.
    """
    key = jr.fold_in(key, step)
    noise_key, key = jr.split(key)
    net = nets.with_noise(net, noise_key)
    return actor.act(
        lambda obs: teaching.q_values(net(preprocess(obs))), stack, frame, first, key, epsilon
    )
