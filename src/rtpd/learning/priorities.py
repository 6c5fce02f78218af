"""A replay's rows by their priorities: how they are drawn, and what they are once learnt from.

Schaul et al. 2016, arXiv:1511.05952. `replay.add` gives a new row the highest priority of all.
"""

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, Int, PRNGKeyArray

from rtpd.learning.replay import Replay

LEAST = 1e-6  # so that what has no TD error any more is still drawn now and then


def draw_prioritised(
    replay: Replay, key: PRNGKeyArray, batch_size: int, stack: int, n_step: int, exponent: float
) -> tuple[Int[Array, " B"], Int[Array, " B"], Float[Array, " B"]]:
    """Rows, envs, and how much likelier than uniformly each was drawn, of a prioritised replay.

    The same rows as `replay.draw` has, each with a chance proportional to priority^exponent, one
    from each of B equal parts of the total (Schaul et al. 2016, arXiv:1511.05952, section 3.3 and
    appendix B.2.1). Sums are taken over rows and then within one, rather than in a tree.
    """
    rows, _ = replay.last.shape
    age = (jnp.arange(rows) - replay.cursor + replay.filled) % rows
    ready = (age >= stack - 1) & (age < replay.filled - n_step)
    weight = jnp.power(jnp.asarray(replay.priority), exponent)
    weight = jnp.where(ready[:, None] & ~replay.last, weight, 0.0)
    by_row = jnp.cumsum(jnp.sum(weight, axis=1))
    total = by_row[-1]
    part = (jnp.arange(batch_size) + jr.uniform(key, (batch_size,))) / batch_size
    at = jnp.minimum(part * total, jnp.nextafter(total, 0.0))
    row = jnp.searchsorted(by_row, at, side="right")
    before = jnp.where(row > 0, by_row[row - 1], 0.0)
    within = jnp.cumsum(weight[row], axis=1)
    # Rounding may leave a little more than the row holds.
    rest = jnp.minimum(at - before, jnp.nextafter(within[:, -1], 0.0))
    env = jax.vmap(lambda sums, x: jnp.searchsorted(sums, x, side="right"))(within, rest)
    return row, env, weight[row, env] / total * jnp.sum(weight > 0)


def updated_priorities(
    priority: Float[Array, "C E"],
    row: Int[Array, " B"],
    env: Int[Array, " B"],
    td_error: Float[Array, " B"],
) -> Float[Array, "C E"]:
    """The priorities once these transitions have been learnt from."""
    return priority.at[row, env].set(td_error + LEAST)
