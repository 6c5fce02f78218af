"""Several nets on one minibatch, their first convolutions as one."""

import itertools
from collections.abc import Mapping
from typing import cast

import jax.numpy as jnp
from jaxtyping import Array, Float

from rtpd.networks.convolution import convolve
from rtpd.networks.layers import Conv
from rtpd.networks.qnet import QNet

MOST_CHANNELS = 32  # of first convolutions that are done as one


def outputs_of(
    family: Mapping[str, QNet], x: Float[Array, "B ..."]
) -> dict[str, Float[Array, "B Q"]]:
    """Outputs of several nets for a minibatch, by name.

    First convolutions of the same kernel and stride are done as one, up to `MOST_CHANNELS`: a small
    net's few channels alone leave most of the arithmetic units idle, and more than a teacher's
    fall out of a core's cache, so that the weights' gradient takes twice as long
    (docs/LOG.md#first-convolutions-together).
    """
    first: dict[str, Array] = {}
    for names in _alike(family):
        layers = [cast("Conv", family[name].torso[0]) for name in names]
        weight = jnp.concatenate([c.weight for c in layers], axis=-1).astype(x.dtype)
        together = convolve(x, weight, layers[0].stride)
        ends = list(itertools.accumulate(c.bias.shape[0] for c in layers))
        parts = jnp.split(together, ends[:-1], axis=-1)
        biases = (c.bias.astype(x.dtype) for c in layers)
        first |= {n: part + b for n, part, b in zip(names, parts, biases, strict=True)}
    return {name: net.trace(x, first.get(name))[0] for name, net in family.items()}


def _alike(family: Mapping[str, QNet]) -> list[list[str]]:
    """Names of nets whose first convolutions can be done as one."""
    groups: list[list[str]] = []
    room: dict[tuple[int, int], tuple[list[str], int]] = {}
    for name, net in family.items():
        if net.torso and isinstance(layer := net.torso[0], Conv):
            kernel, _, _, channels = layer.weight.shape
            group, left = room.get((kernel, layer.stride), ([], 0))
            if channels > left:
                group, left = [], MOST_CHANNELS
                groups.append(group)
            group.append(name)
            room[kernel, layer.stride] = group, left - channels
    return groups
