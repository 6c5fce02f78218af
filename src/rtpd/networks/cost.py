"""What a net costs for one observation."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend import core

from rtpd.networks.qnet import QNet
from rtpd.types import EnvSpec


def multiply_adds(net: QNet, spec: EnvSpec) -> int:
    """How many products a net sums for one observation of `spec`; biases and the like not counted.

    Counted in what JAX traces, so for any net.
    """
    shape = (*spec.frame_shape, spec.stack)
    x = jax.ShapeDtypeStruct((1, *shape) if spec.is_image else (1, math.prod(shape)), jnp.float32)
    traced = jax.make_jaxpr(lambda net, x: net(x))(net, x)
    return _products(traced.jaxpr)


def _products(jaxpr: core.Jaxpr) -> int:
    def shape(variable: Any) -> tuple[int, ...]:  # noqa: ANN401
        return variable.aval.shape

    total = 0
    for step in jaxpr.eqns:
        made = math.prod(shape(step.outvars[0]))
        if step.primitive.name == "conv_general_dilated":
            *summed, _ = shape(step.invars[1])  # [k k I O]
            total += made * math.prod(summed)
        elif step.primitive.name == "dot_general":
            (left, _), _ = step.params["dimension_numbers"]
            total += made * math.prod(shape(step.invars[0])[i] for i in left)
        total += sum(map(_products, core.jaxprs_in_params(step.params)))
    return total
