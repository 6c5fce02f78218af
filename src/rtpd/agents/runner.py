"""One agent at its own vector env: acts, and books whole episodes."""

from collections.abc import Callable
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, PRNGKeyArray

from rtpd import envs
from rtpd.agents import acting
from rtpd.agents.episodes import Episode, Episodes
from rtpd.networks.policy import HostPolicy, Policy
from rtpd.types import EvalResult, Preprocess, Timestep

MOST_ENVS = 32


class EpisodeRunner:
    """One agent at its own vector env; each env plays a fixed number of episodes.

    A fixed number per env, since taking the first episodes to finish would favour short ones.
    """

    def __init__(
        self, policy: Policy | HostPolicy, options: envs.EnvOptions, episodes: int, seed: int
    ) -> None:
        num_envs = min(episodes, MOST_ENVS)
        self.policy = policy
        self.env = envs.make(policy.spec.name, num_envs, options)
        self.quota = np.full(num_envs, episodes // num_envs)
        self.quota[: episodes % num_envs] += 1
        self.played: list[list[Episode]] = [[] for _ in range(num_envs)]
        self.episodes = Episodes(num_envs)
        spec = policy.spec
        # No-ops at the start of a game count as frames of it.
        self.longest = (options.max_episode_frames - options.noop_max) / spec.frames_per_step
        self.stack = jnp.zeros((num_envs, spec.stack, *spec.frame_shape), spec.frame_dtype)
        self.key = jr.key(seed)
        self.timestep = self.env.reset(seed)
        self.step = 0
        self.q: ArrayLike | None = None

    @property
    def done(self) -> bool:
        """Whether every env has played its episodes."""
        return all(len(e) >= quota for e, quota in zip(self.played, self.quota, strict=True))

    @property
    def num_played(self) -> int:
        """How many of its episodes have ended."""
        return sum(map(len, self.played))

    def act(self, epsilon: float) -> Array:
        """Choose actions for the newest frames; of JAX's, returns before they are computed.

        `stack` [E K *F] and `q` [E A] are then what the agent sees, and what it says of it.
        """
        if isinstance(self.policy, HostPolicy):
            self.stack = _push(self.stack, self.timestep.frame, self.timestep.first)
            self.q = self.policy.q_values(np.asarray(self.stack))
            return _explore(self.q, self.key, np.int32(self.step), np.float32(epsilon))
        self.stack, action, self.q = _act(
            self.policy.net, self.policy.preprocess, self.policy.head, self.stack,
            self.timestep.frame, self.timestep.first, self.key, np.int32(self.step),
            np.float32(epsilon),
        )  # fmt: skip
        return action

    def receive(self) -> None:
        """Take in the step in progress and book the episodes that it ended."""
        self.timestep: Timestep = self.env.recv()
        self.step += 1
        for episode in self.episodes.add(self.timestep):
            if len(self.played[episode.env]) < self.quota[episode.env]:
                self.played[episode.env].append(episode)

    def result(self, name: str, epsilon: float) -> EvalResult:
        """All episodes, env by env."""
        played = [episode for episodes in self.played for episode in episodes]
        totals, steps = tuple(e.total for e in played), tuple(e.steps for e in played)
        cut_off = sum(e.cut and e.steps >= self.longest for e in played)
        return EvalResult(name, self.policy.spec.name, totals, steps, epsilon, cut_off)


@partial(jax.jit, static_argnames="head")
def _act(
    net: Callable[[Array], Array], preprocess: Preprocess, head: Callable[[Array], Array],
    stack: Array, frame: ArrayLike, first: ArrayLike, key: PRNGKeyArray, step: ArrayLike,
    epsilon: ArrayLike,
) -> tuple[Array, Array, Array]:  # fmt: skip
    def q_values(stack: Array) -> Array:
        return jax.vmap(head)(net(preprocess(stack)))

    return acting.act(q_values, stack, frame, first, jr.fold_in(key, step), epsilon)


_push = eqx.filter_jit(acting.push)


@eqx.filter_jit
def _explore(q: ArrayLike, key: PRNGKeyArray, step: ArrayLike, epsilon: ArrayLike) -> Array:
    return acting.epsilon_greedy(jnp.asarray(q), jr.fold_in(key, step), epsilon)
