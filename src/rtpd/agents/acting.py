"""Acting: stacks of frames, exploration."""

from collections.abc import Callable

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


def sample(logits: Float[Array, "E A"], key: PRNGKeyArray, epsilon: ArrayLike) -> Int[Array, " E"]:
    """Actions drawn from softmax(logits), each uniformly random with probability `epsilon`."""
    # The noise makes the greedy action a draw from the softmax (Gumbel 1954).
    noise_key, key = jr.split(key)
    return epsilon_greedy(logits + jr.gumbel(noise_key, logits.shape), key, epsilon)


def act(
    q_values: Callable[[Array], Float[Array, "E A"]],
    stack: Array,
    frame: ArrayLike,
    first: ArrayLike,
    key: PRNGKeyArray,
    epsilon: ArrayLike,
) -> tuple[Array, Int[Array, " E"], Float[Array, "E A"]]:
    """One epsilon-greedy step, the same in evaluation and play.

    Args:
        q_values: from raw stacks [E K *F] to Q-values or logits [E A].
        stack: the newest K frames of each env before this step, [E K *F].
        frame: the newest frames, [E *F].
        first: whether they begin an episode, [E].
        key: of this step alone.
        epsilon: share of random actions, 0 to 1.

    Returns:
        The new stacks, the actions, and `q_values` of the stacks.
    """
    stack = push(stack, frame, first)
    q = q_values(stack)
    return stack, epsilon_greedy(q, key, epsilon), q
