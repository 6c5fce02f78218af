"""Convolutions of minibatches, with gradients that a CPU computes fast.

XLA hands a convolution to oneDNN if it has neither base dilation nor a reversed kernel. The usual
input gradient of a convolution has both, so it is written here as one that has neither.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

_LAYOUT = ("NHWC", "HWIO", "NHWC")


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def convolve(
    x: Float[Array, "B H W I"],
    weight: Float[Array, "k k I O"],
    stride: int,
    padding: str = "VALID",
) -> Float[Array, "B h w O"]:
    """A 2-d convolution of operands of one dtype; `padding` as XLA has it: VALID or SAME."""
    strides = (stride, stride)
    return jax.lax.conv_general_dilated(x, weight, strides, padding, dimension_numbers=_LAYOUT)


def _convolve_forward(
    x: Array, weight: Array, stride: int, padding: str
) -> tuple[Array, tuple[Array, Array]]:
    return convolve(x, weight, stride, padding), (x, weight)


def _convolve_backward(
    stride: int, padding: str, operands: tuple[Array, Array], gradient: Array
) -> tuple[Array, Array]:
    """The input's gradient is one convolution of stride 1 to stride^2 times as many channels.

    Its pixels at one of the stride^2 offsets are a convolution of the outputs' gradient with every
    stride-th tap of the kernel, turned round. So all offsets are channels of one convolution, which
    are put where they belong afterwards.
    """
    x, weight = operands
    strides = (stride, stride)
    (d_weight,) = jax.vjp(
        lambda w: jax.lax.conv_general_dilated(x, w, strides, padding, dimension_numbers=_LAYOUT),
        weight,
    )[1](gradient)
    kernel, _, inputs, outputs = weight.shape
    taps = -(-kernel // stride)
    filled = [(0, taps * stride - kernel)] * 2
    phases = jnp.pad(weight, [*filled, (0, 0), (0, 0)])
    phases = phases.reshape(taps, stride, taps, stride, inputs, outputs)[::-1, :, ::-1]
    phases = phases.transpose(0, 2, 5, 1, 3, 4).reshape(taps, taps, outputs, -1)
    phases = jax.lax.optimization_barrier(phases)  # or XLA makes a reversed kernel of it again
    around = [(taps - 1, taps - 1)] * 2
    d = jax.lax.conv_general_dilated(gradient, phases, (1, 1), around, dimension_numbers=_LAYOUT)
    batch, rows, columns, _ = d.shape
    d = d.reshape(batch, rows, columns, stride, stride, inputs).transpose(0, 1, 3, 2, 4, 5)
    d = d.reshape(batch, rows * stride, columns * stride, inputs)
    before = jax.lax.padtype_to_pads(x.shape[1:3], (kernel, kernel), strides, padding)
    config = [(0, 0, 0)]
    config += [
        (-low, size + low - had, 0)
        for (low, _), size, had in zip(before, x.shape[1:3], d.shape[1:3], strict=True)
    ]
    return jax.lax.pad(d, jnp.zeros((), d.dtype), [*config, (0, 0, 0)]), d_weight


convolve.defvjp(_convolve_forward, _convolve_backward)
