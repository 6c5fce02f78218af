"""A ring of single frames as a JAX pytree, updated in place (donate it).

Row t of an env holds the frame seen, the action chosen there, and what came of it: the reward and
whether the next state was terminal. So one row is written once, a step late, when all is known.
`first` marks an episode's first frame: a stack does not look back past it. `last` marks a frame
after which nothing of the same episode follows: its action was ignored, no window crosses it.
A lost life may be `terminal` without `last`: the bootstrap stops there and the stack goes on.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from rtpd.learning.replay_shape import ReplayShape
from rtpd.types import Transitions


class Replay(NamedTuple):
    """C rows of E envs; the newest row is `cursor - 1` modulo C."""

    frames: Array  # [C E *F]
    action: Int[Array, "C E"]
    reward: Float[Array, "C E"]  # unclipped, of the step taken in this row
    first: Bool[Array, "C E"]
    terminal: Bool[Array, "C E"]  # the step taken in this row led to a terminal state
    last: Bool[Array, "C E"]
    cursor: Int[Array, ""]
    filled: Int[Array, ""]
    priority: Float[Array, "C E"] | None = None  # of a prioritised replay
    q: Float[Array, "C E A"] | None = None  # of the teacher that acted; NaN where it did not


def init(shape: ReplayShape) -> Replay:
    """An empty ring."""
    arrays = {name: jnp.zeros(*array) for name, array in shape.arrays.items()}
    if "q" in arrays:
        arrays["q"] = jnp.full_like(arrays["q"], jnp.nan)
    return Replay(**arrays)


def add(
    replay: Replay,
    frame: Array,
    action: Int[Array, " E"],
    reward: Float[Array, " E"],
    first: Bool[Array, " E"],
    terminal: Bool[Array, " E"],
    last: Bool[Array, " E"],
    q: Float[Array, "E A"] | None = None,
) -> Replay:
    """Write one row of E envs over the oldest. Jit it with the replay donated, or it copies all.

    A new row has the highest priority of all, so that it is soon seen (Schaul et al. 2016).
    """
    rows = replay.frames.shape[0]
    row = (frame, action, reward, first, terminal, last)
    fields = (
        jax.lax.dynamic_update_index_in_dim(ring, new.astype(ring.dtype), replay.cursor, 0)
        for ring, new in zip(replay[: len(row)], row, strict=True)
    )
    cursor = (replay.cursor + 1) % rows
    priority = replay.priority
    if priority is not None:
        highest = jnp.where(replay.filled > 0, jnp.max(priority), 1.0)
        priority = priority.at[replay.cursor].set(highest)
    kept = replay.q
    if kept is not None:
        kept = kept.at[replay.cursor].set(jnp.nan if q is None else q)
    return Replay(*fields, cursor, jnp.minimum(replay.filled + 1, rows), priority, kept)


def seal(replay: Replay) -> Replay:
    """Mark the newest row as last: the envs were restarted, so its action leads nowhere."""
    newest = (replay.cursor - 1) % replay.frames.shape[0]
    sealed = replay.last.at[newest].set(replay.filled > 0)
    return replay._replace(last=sealed)


def frame_statistics(replay: Replay) -> tuple[Float[Array, " *F"], Float[Array, "*S"]]:
    """Mean frame, and what deviations from it are divided by, over all rows written so far.

    Of images a single number, the root of the pixels' variance averaged over them; of vectors one
    for each feature, see `_deviations`. It is 1 where nothing varies beyond rounding, so that it
    can be divided by. Needs one row.
    """
    vectors = replay.frames.ndim == 3
    first = replay.frames[0, 0].astype(jnp.float32)
    shift = first if vectors else jnp.zeros_like(first)  # large values lose no digits in the sums

    def mean_of(values: Callable[[Array], Array]) -> Float[Array, " *F"]:
        def gather(row: Array, total: Array) -> Array:
            frames = replay.frames[row].astype(jnp.float32) - shift
            return total + jnp.mean(values(frames), axis=0)

        zero = jnp.zeros(replay.frames.shape[2:], jnp.float32)
        return jax.lax.fori_loop(0, replay.filled, gather, zero) / replay.filled

    mean = mean_of(lambda frames: frames)
    if vectors:
        return shift + mean, _deviations(replay, shift, mean, mean_of)
    deviation = jnp.sqrt(jnp.mean(mean_of(lambda frames: jnp.square(frames - mean))))
    size = jnp.sqrt(jnp.mean(jnp.square(mean)))
    return mean, jnp.where(deviation > 1e-4 * size, deviation, 1.0)


def _deviations(
    replay: Replay, shift: Float[Array, " D"], mean: Float[Array, " D"],
    mean_of: Callable[[Callable[[Array], Array]], Array],
) -> Float[Array, " D"]:  # fmt: skip
    """Standard deviation of each feature around its mean, or a tenth of its largest deviation.

    The latter if that is more: else what a random player seldom sees, as one state of hundreds
    (one-hot), would come to a net as a number of any size. `mean` is that of `frames - shift`.
    """

    def farther(row: Array, found: Array) -> Array:
        frames = replay.frames[row].astype(jnp.float32) - shift
        return jnp.maximum(found, jnp.max(jnp.abs(frames - mean), axis=0))

    peak = jax.lax.fori_loop(0, replay.filled, farther, jnp.zeros_like(mean))
    unit = jnp.where(peak > 0, peak, 1.0)  # squares of very large or small values leave float32
    deviation = unit * jnp.sqrt(mean_of(lambda frames: jnp.square((frames - mean) / unit)))
    rounding = 2 * jnp.finfo(jnp.float32).eps * jnp.abs(shift + mean)
    return jnp.where(peak > rounding, jnp.maximum(deviation, peak / 10), 1.0)


def sample(
    replay: Replay,
    key: PRNGKeyArray,
    *,
    batch_size: int,
    stack: int,
    n_step: int,
    gamma: float,
    clip_reward: bool,
) -> Transitions:
    """A minibatch, uniform over all rows that have a full n-step window before the write seam.

    Needs `filled >= n_step + stack`. What a transition is: see `transitions`.
    """
    row, env = draw(replay, key, batch_size, stack, n_step)
    return transitions(
        replay, row, env, stack=stack, n_step=n_step, gamma=gamma, clip_reward=clip_reward
    )


def newest(replay: Replay, count: int) -> Int[Array, " count"]:
    """The newest `count` rows, oldest first."""
    return (replay.cursor - count + jnp.arange(count)) % replay.frames.shape[0]


def transitions(
    replay: Replay,
    row: Int[Array, " B"],
    env: Int[Array, " B"],
    *,
    stack: int,
    n_step: int,
    gamma: float,
    clip_reward: bool,
) -> Transitions:
    """What began in these rows, over windows of n steps that stay before the write seam.

    A window ends early at a terminal (discount 0) and at a `last` row (it bootstraps from that
    row's frame with gamma to the number of steps it did take).
    """
    rows, batch_size = replay.frames.shape[0], row.shape[0]
    reward = jnp.zeros(batch_size)
    steps = jnp.zeros(batch_size, jnp.int32)
    going = jnp.ones(batch_size, bool)
    ended = jnp.zeros(batch_size, bool)
    for k in range(n_step):
        at = ((row + k) % rows, env)
        going &= ~replay.last[at]
        step_reward = clipped(replay.reward[at], clip_reward)
        reward += jnp.where(going, gamma**k * step_reward, 0.0)
        steps += going
        ended |= going & replay.terminal[at]
        going &= ~replay.terminal[at]
    return Transitions(
        obs=stacks(replay, row, env, stack),
        action=replay.action[row, env],
        reward=reward,
        discount=jnp.where(ended, 0.0, jnp.float32(gamma) ** steps),
        next_obs=stacks(replay, (row + steps) % rows, env, stack),
    )


def draw(
    replay: Replay,
    key: PRNGKeyArray,
    batch_size: int,
    stack: int,
    n_step: int,
    newest: int | None = None,
) -> tuple[Int[Array, " B"], Int[Array, " B"]]:
    """Rows and envs to sample: rejection until no row is `last`, so exactly uniform.

    Of the `newest` so many rows, or of all.
    """
    rows, num_envs = replay.last.shape
    oldest = stack - 1 if newest is None else jnp.maximum(stack - 1, replay.filled - newest)

    def propose(key: PRNGKeyArray) -> tuple[Array, Array]:
        row_key, env_key = jr.split(key)
        age = jr.randint(row_key, (batch_size,), oldest, replay.filled - n_step)
        env = jr.randint(env_key, (batch_size,), 0, num_envs)
        return (replay.cursor - replay.filled + age) % rows, env

    def retry(carry: tuple[PRNGKeyArray, Array, Array]) -> tuple[PRNGKeyArray, Array, Array]:
        key, row, env = carry
        key, draw_key = jr.split(key)
        new_row, new_env = propose(draw_key)
        rejected = replay.last[row, env]
        return key, jnp.where(rejected, new_row, row), jnp.where(rejected, new_env, env)

    key, draw_key = jr.split(key)
    carry = (key, *propose(draw_key))
    _, row, env = jax.lax.while_loop(lambda c: jnp.any(replay.last[c[1], c[2]]), retry, carry)
    return row, env


def clipped(reward: Float[Array, "..."], clip: bool) -> Float[Array, "..."]:
    """Rewards as they are learnt from."""
    return jnp.clip(reward, -1.0, 1.0) if clip else reward


def stacks(replay: Replay, row: Int[Array, " B"], env: Int[Array, " B"], stack: int) -> Array:
    """The last `stack` frames up to each row, oldest first, zeros before the episode's first."""
    rows = replay.frames.shape[0]
    back = jnp.arange(stack)
    index = (row[:, None] - back) % rows  # [B K], newest first
    first = replay.first[index, env[:, None]]
    earlier_first = jnp.cumsum(first, axis=1) - first  # a `first` among the newer ones
    frames = replay.frames[index, env[:, None]]
    shown = (earlier_first == 0).reshape(*index.shape, *([1] * (frames.ndim - 2)))
    return jnp.where(shown, frames, jnp.zeros((), frames.dtype))[:, ::-1]
