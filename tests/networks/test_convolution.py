"""Convolutions: JAX's own, with gradients that are JAX's own by another road."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from rtpd.networks.convolution import convolve
from rtpd.system import compute

LAYOUT = ("NHWC", "HWIO", "NHWC")
# size of the map, kernel, stride, padding: windows that cover the map and that do not, kernels that
# are a multiple of the stride and that are not
CASES = [
    (20, 8, 4, "VALID"),
    (20, 4, 2, "VALID"),
    (9, 3, 1, "VALID"),
    (9, 3, 2, "VALID"),
    (21, 8, 8, "VALID"),
    (13, 2, 3, "VALID"),
    (11, 3, 1, "SAME"),
    (10, 5, 2, "SAME"),
]


def plain(x, weight, stride, padding):
    return jax.lax.conv_general_dilated(
        x, weight, (stride, stride), padding, dimension_numbers=LAYOUT
    )


def operands(size, kernel, dtype=jnp.float32):
    x_key, weight_key = jr.split(jr.key(0))
    x = jr.normal(x_key, (3, size, size + 1, 2)).astype(dtype)
    return x, jr.normal(weight_key, (kernel, kernel, 2, 5)).astype(dtype)


def gradients(convolution, x, weight, *how):
    def total(x, weight):
        return jnp.sum(jnp.sin(convolution(x, weight, *how).astype(jnp.float32)))

    return jax.grad(total, argnums=(0, 1))(x, weight)


@pytest.mark.parametrize(("size", "kernel", "stride", "padding"), CASES)
def test_values_and_gradients_are_those_of_jax(size, kernel, stride, padding):
    x, weight = operands(size, kernel)
    how = (stride, padding)
    np.testing.assert_array_equal(convolve(x, weight, *how), plain(x, weight, *how))
    found, expected = (gradients(f, x, weight, *how) for f in (convolve, plain))
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5 * float(jnp.abs(b).max()))


@pytest.mark.parametrize(("size", "kernel", "stride", "padding"), CASES)
@pytest.mark.usefixtures("optimised")
def test_gradients_in_bfloat16_point_where_those_in_float32_do(size, kernel, stride, padding):
    x, weight = operands(size, kernel, jnp.bfloat16)
    run = compute.jit(lambda x, weight: gradients(convolve, x, weight, stride, padding), "bfloat16")
    exact = gradients(plain, *(a.astype(jnp.float32) for a in (x, weight)), stride, padding)
    for a, b in zip(run(x, weight), exact, strict=True):
        a = a.astype(jnp.float32)
        cosine = jnp.vdot(a, b) / (jnp.linalg.norm(a) * jnp.linalg.norm(b))
        assert a.shape == b.shape and float(cosine) > 0.999
