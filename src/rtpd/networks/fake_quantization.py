"""What a student gives if it is rounded as an int8 export rounds it, with a gradient.

Quantisation-aware training (Jacob et al. 2018, arXiv:1712.05877): forward, weights and activations
take the values that they can have in integers; backward, rounding counts as the identity (Bengio
et al. 2013, arXiv:1308.3432). The rules are those of `export/quantise.py`, but the activations'
ranges are those on the minibatch.
"""

from collections.abc import Sequence
from typing import cast

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from rtpd.networks.layers import Conv, Dense
from rtpd.networks.qnet import QNet


def outputs(
    net: QNet, x: Float[Array, "B H W K"], peaks: Sequence[Float[Array, " _"]] = ()
) -> Float[Array, "B Q"]:
    """Outputs of a minibatch, all of convolutions and dense layers, not dueling.

    `x` are whole grey levels apart from one factor, which needs no rounding. `peaks` are the
    largest activations of each channel of each hidden layer, where they are known.
    """
    ((dense, out),) = net.streams
    unit = jnp.ones(1)  # what a step of each input channel stands for; a common factor cancels
    for i, layer in enumerate(cast("tuple[Conv | Dense, ...]", (*net.torso, dense))):
        x = jax.nn.relu(_rounded(layer, unit, alike=False)(x))
        seen = jax.lax.stop_gradient(x.reshape(-1, x.shape[-1]).max(axis=0))
        peak = peaks[i] if peaks else seen
        unit = jnp.maximum(peak, jnp.maximum(peak.max() / 10, 1e-6)) / 255
        x = _through(x, jnp.clip(jnp.round(x / unit), 0, 255) * unit)
    return _rounded(out, unit, alike=True)(x)


def _rounded[L: Conv | Dense](layer: L, unit_in: Float[Array, " U"], *, alike: bool) -> L:
    """The layer with weights of at most 127 steps; a step is that of its channel, or of all."""
    weight = layer.weight
    *_, inputs, channels = weight.shape
    into = jnp.tile(unit_in, inputs // len(unit_in))[:, None]
    scaled = jax.lax.stop_gradient(weight * into)
    largest = jnp.abs(scaled).reshape(-1, channels).max(axis=0)
    if alike:
        largest = jnp.full_like(largest, largest.max())
    unit = jnp.where(largest > 0, largest, 1.0) / 127
    rounded = jnp.round(scaled / unit) * unit / into
    return eqx.tree_at(lambda layer: layer.weight, layer, _through(weight, rounded))


def _through(value: Array, rounded: Array) -> Array:
    """Forward the rounded value, backward the identity."""
    return value + jax.lax.stop_gradient(rounded - value)
