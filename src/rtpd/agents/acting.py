"""Acting: stacks of frames, exploration."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import jax.random as jr
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, PRNGKeyArray


def linear_epsilon(step: int, *, start: float, end: float, decay_steps: int) -> float:
    """Exploration rate at an agent step: linear from `start` to `end`, then `end`."""
    done = min(step / decay_steps, 1.0) if decay_steps else 1.0
    return start + done * (end - start)


def push(stack: Array, frame: ArrayLike, first: ArrayLike) -> Array:
    """Append a frame [E *F] to stacks [E K *F], oldest first; `first` [E] empties it before."""
    frame, first = jnp.asarray(frame), jnp.asarray(first)
    new = first.reshape(-1, *([1] * frame.ndim))
    kept = jnp.where(new, jnp.zeros((), stack.dtype), stack[:, 1:])
    return jnp.concatenate([kept, frame[:, None]], axis=1)


def epsilon_greedy(
    q: Float[Array, "E A"], key: PRNGKeyArray, epsilon: ArrayLike
) -> Int[Array, " E"]:
    """Greedy actions, each replaced by a uniformly random one with probability `epsilon`."""
    explore_key, action_key = jr.split(key)
    num_envs, num_actions = q.shape
    explore = jr.uniform(explore_key, (num_envs,)) < epsilon
    random = jr.randint(action_key, (num_envs,), 0, num_actions)
    return jnp.where(explore, random, jnp.argmax(q, axis=1)).astype(jnp.int32)


def act(
    q_values: Callable[[Array], Array],
    stack: Array,
    frame: ArrayLike,
    first: ArrayLike,
    key: PRNGKeyArray,
    epsilon: ArrayLike,
) -> tuple[Array, Int[Array, " E"]]:
    """Push the newest frames and choose actions: (stack [E K *F], actions [E]).

    `q_values` maps one raw stack [K *F] to [A].
    """
    stack = push(stack, frame, first)
    return stack, epsilon_greedy(jax.vmap(q_values)(stack), key, epsilon)
