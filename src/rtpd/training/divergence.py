"""Whether a training is still one: losses and weights that are numbers, and of a sane size."""

from collections.abc import Mapping

import equinox as eqx
import jax
import jax.numpy as jnp

from rtpd.errors import DivergedError
from rtpd.networks.qnet import QNet
from rtpd.storage.agent_id import AgentId

LARGEST_LOSS = 1e12  # a healthy one stays below about 1e3, even with unclipped rewards
MOST_ROLLBACKS = 3  # of one run; each halves the learning rates


def check_losses(step: int, rows: Mapping[str, Mapping[str, float]]) -> None:
    """DivergedError if an agent's mean loss since the last line is no number, or huge."""
    for agent, row in _teachers_first(rows):
        if not abs(row.get("loss", 0.0)) <= LARGEST_LOSS:  # also catches NaN
            raise DivergedError(f"{agent} has diverged: step {step:,}, loss {row['loss']:g}")


def check_weights(step: int, nets: Mapping[str, QNet]) -> None:
    """DivergedError if an agent has a weight that is not finite; for what is about to be saved."""
    for agent, finite in _teachers_first(jax.device_get(_finite(dict(nets)))):
        if not finite:
            raise DivergedError(f"{agent} has diverged: step {step:,}, weights that are not finite")


def _teachers_first[Found](rows: Mapping[str, Found]) -> list[tuple[str, Found]]:
    """What is known of every agent; teachers first, since students follow theirs."""
    return sorted(rows.items(), key=lambda item: not AgentId.parse(item[0]).is_teacher)


@eqx.filter_jit
def _finite(nets: dict[str, QNet]) -> dict[str, jax.Array]:
    def of(net: QNet) -> jax.Array:
        weights = jax.tree.leaves(eqx.filter(net, eqx.is_inexact_array))
        return jnp.all(jnp.asarray([jnp.all(jnp.isfinite(weight)) for weight in weights], bool))

    return {name: of(net) for name, net in nets.items()}
