"""Layers of minibatches, each in the dtype of its input; see `qnet`."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from rtpd.networks.convolution import convolve

FIRST_NOISE = 0.5  # sigma_0 of Fortunato et al. 2018, of noisy layers


class Conv(eqx.Module):
    """A 2-d convolution, [B H W I] -> [B h w O]; `padding` as XLA has it: VALID has none."""

    weight: Float[Array, "k k I O"]
    bias: Float[Array, " O"]
    stride: int = eqx.field(static=True)
    padding: str = eqx.field(static=True)

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        stride: int,
        *,
        key: PRNGKeyArray,
        he: bool,
        padding: str = "VALID",
    ):
        """Draw weights and bias; see `_draw`."""
        self.weight, self.bias = _draw((kernel, kernel, inputs, outputs), key, he=he)
        self.stride, self.padding = stride, padding

    def __call__(self, x: Float[Array, "B H W I"]) -> Float[Array, "B h w O"]:
        """Convolve in the dtype of `x`."""
        y = convolve(x, self.weight.astype(x.dtype), self.stride, self.padding)
        return y + self.bias.astype(x.dtype)


class Stage(eqx.Module):
    """A convolution, a max-pooling that halves the map, and two residual blocks."""

    conv: Conv
    blocks: tuple[tuple[Conv, Conv], ...]

    def __init__(self, inputs: int, outputs: int, *, key: PRNGKeyArray, he: bool):
        """Draw all convolutions, of kernel 3."""
        keys = jr.split(key, 5)

        def conv(inputs: int, key: PRNGKeyArray) -> Conv:
            return Conv(inputs, outputs, 3, 1, key=key, he=he, padding="SAME")

        self.conv = conv(inputs, keys[0])
        self.blocks = tuple((conv(outputs, a), conv(outputs, b)) for a, b in keys[1:].reshape(2, 2))

    def __call__(self, x: Float[Array, "B H W I"]) -> Float[Array, "B h w O"]:
        """Apply to a minibatch, in its dtype."""
        window, stride = (1, 3, 3, 1), (1, 2, 2, 1)
        x = jax.lax.reduce_window(self.conv(x), -jnp.inf, jax.lax.max, window, stride, "SAME")
        for first, second in self.blocks:
            x += second(jax.nn.relu(first(jax.nn.relu(x))))
        return x


class Residual(eqx.Module):
    """Stages one after the other; the ReLU behind the last one is the caller's."""

    stages: tuple[Stage, ...]

    def __call__(self, x: Float[Array, "B H W I"]) -> Float[Array, "B h w O"]:
        """Apply to a minibatch, in its dtype."""
        for stage in self.stages:
            x = stage(x)
        return x


class Dense(eqx.Module):
    """A dense layer, [B ...] -> f32[B O]; flattens, and normalises what goes out if asked.

    `noise`: what weight and bias deviate by, of a noisy layer (Fortunato et al. 2018,
    arXiv:1706.10295); `with_noise` draws it, and without a draw the layer is its mean.
    """

    weight: Float[Array, "I O"]
    bias: Float[Array, " O"]
    norm: eqx.nn.LayerNorm | None
    noise: tuple[Float[Array, "I O"], Float[Array, " O"]] | None

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        key: PRNGKeyArray,
        he: bool,
        norm: bool = False,
        noisy: bool = False,
    ):
        """Draw weights and bias, see `_draw`; `norm` adds a layer norm (Ba et al. 2016)."""
        self.weight, self.bias = _draw((inputs, outputs), key, he=he)
        self.norm = eqx.nn.LayerNorm(outputs) if norm else None
        size = FIRST_NOISE / math.sqrt(inputs)
        # Of a dtype: JAX types a bare number weakly, and the update, whose results are not, would
        # be compiled once more for them.
        deviations = [jnp.full(shape, size, jnp.float32) for shape in ((inputs, outputs), outputs)]
        self.noise = (deviations[0], deviations[1]) if noisy else None

    def __call__(self, x: Float[Array, "B ..."]) -> Float[Array, "B O"]:
        """Multiply in the dtype of `x`; all else, and what it gives, is float32."""
        y = x.reshape(len(x), -1) @ self.weight.astype(x.dtype)
        y = y.astype(jnp.float32) + self.bias
        return y if self.norm is None else jax.vmap(self.norm)(y)


def _draw(shape: tuple[int, ...], key: PRNGKeyArray, *, he: bool) -> tuple[Array, Array]:
    """Weights and bias from U(-b, b), b = 1/sqrt(fan in), as in Mnih et al. 2015.

    With `he`, b = sqrt(6/fan in) and no bias: the signal keeps its size from one ReLU layer to
    the next (He et al. 2015, arXiv:1502.01852).
    """
    fan_in, outputs = math.prod(shape[:-1]), shape[-1]
    weight_key, bias_key = jr.split(key)
    if he:
        return _uniform(weight_key, shape, math.sqrt(6 / fan_in)), jnp.zeros(outputs)
    bound = 1 / math.sqrt(fan_in)
    return _uniform(weight_key, shape, bound), _uniform(bias_key, (outputs,), bound)


def _uniform(key: PRNGKeyArray, shape: tuple[int, ...], bound: float) -> Array:
    """U(-bound, bound). Drawn flat: the same numbers, and XLA compiles a tenth as long."""
    flat = jr.uniform(key, (math.prod(shape),), minval=-bound, maxval=bound)
    return flat.reshape(shape)
