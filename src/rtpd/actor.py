"""Acting: stacks of frames, exploration. Floor 1."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray


def linear_epsilon(step: int, *, start: float, end: float, decay_steps: int) -> float:
    """Exploration rate at an agent step: linear from `start` to `end`, then `end`."""
    done = min(step / decay_steps, 1.0) if decay_steps else 1.0
    return start + done * (end - start)


def push(stack: Array, frame: Array, first: Bool[Array, " E"]) -> Array:
    """Append a frame [E *F] to stacks [E K *F], oldest first; zeros before an episode's first."""
    new = first.reshape(-1, *([1] * frame.ndim))
    kept = jnp.where(new, jnp.zeros((), stack.dtype), stack[:, 1:])
    return jnp.concatenate([kept, frame[:, None]], axis=1)


def epsilon_greedy(
    q: Float[Array, "E A"], key: PRNGKeyArray, epsilon: Float[Array, ""]
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
    frame: Array,
    first: Bool[Array, " E"],
    key: PRNGKeyArray,
    epsilon: Float[Array, ""],
) -> tuple[Array, Int[Array, " E"]]:
    """Push the newest frames and choose actions: (stack [E K *F], actions [E]).

    `q_values` maps one raw stack [K *F] to [A].
    """
    stack = push(stack, frame, first)
    return stack, epsilon_greedy(jax.vmap(q_values)(stack), key, epsilon)
