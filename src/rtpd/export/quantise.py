"""A net in integers: int8 weights, uint8 activations, int32 sums; one model for ONNX and C.

Symmetric, a scale for each output channel (Jacob et al. 2018, arXiv:1712.05877, section 2), and one
for each channel of activations too: the weights behind it take that up before they are rounded
(Nagel et al. 2019, arXiv:1906.04721, section 4.1), so it costs nothing. For each channel a layer is
`acc = sum(w * x) + bias` in int32, and then in 64 bits
`min((max(acc, 0) * multiplier + half) >> shift, 255)`. The first layer reads `frame - centre`, so
that the weights' rounding meets only what differs from the centre; the last gives int32 numbers,
all of the unit `unit`.
"""

import math
from dataclasses import dataclass
from typing import cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float, Int, UInt8
from numpy.lib.stride_tricks import sliding_window_view

from rtpd.errors import RequestError, RtpdError
from rtpd.networks.layers import Conv, Dense
from rtpd.networks.policy import Policy
from rtpd.networks.qnet import QNet

LARGEST = 2**31 - 1  # of an int32


@dataclass(frozen=True)
class Layer:
    """A convolution [k k I O] without padding, or a dense layer [I O]; all arrays are integers."""

    weight: Int[np.ndarray, "..."]  # int8, -127 .. 127
    bias: Int[np.ndarray, " O"]  # int32
    stride: int
    multiplier: Int[np.ndarray, " O"] | None  # int32; None in the last layer
    shift: Int[np.ndarray, " O"]  # int32, 1 .. 62

    @property
    def is_conv(self) -> bool:
        """Whether it is a convolution."""
        return self.weight.ndim == 4


@dataclass(frozen=True)
class Quantised:
    """A student in integers; a Q-value is `unit` times an output."""

    centre: UInt8[np.ndarray, "H W"]
    layers: tuple[Layer, ...]
    unit: float

    def outputs(self, frames: UInt8[np.ndarray, "N K H W"]) -> Int[np.ndarray, "N A"]:
        """The reference: int32 outputs of raw stacks. Sums are exact (float64, below 2^53)."""
        x = frames.astype(np.float64) - self.centre
        x = x.transpose(0, 2, 3, 1)
        for layer in self.layers:
            acc = np.rint(_sums(layer, x)).astype(np.int64) + layer.bias
            if layer.multiplier is None:
                return acc.astype(np.int32)
            half = np.int64(1) << (layer.shift.astype(np.int64) - 1)
            scaled = (np.maximum(acc, 0) * layer.multiplier.astype(np.int64) + half) >> layer.shift
            x = np.minimum(scaled, 255).astype(np.float64)
        raise AssertionError("the last layer has no multiplier")

    def q_values(self, frames: UInt8[np.ndarray, "N K H W"]) -> Float[np.ndarray, "N A"]:
        """Q-values, float32."""
        return self.outputs(frames).astype(np.float32) * np.float32(self.unit)


def check(policy: Policy) -> None:
    """RequestError in one line if the net cannot be quantised."""
    net, spec = policy.net, policy.spec
    if not isinstance(net, QNet):
        what = f"a net of type {type(net).__name__}"
    elif not spec.is_image or spec.frame_dtype != "uint8":
        what = f"vectors of {spec.frame_dtype} ({spec.name})"
    elif net.activation != "relu":
        what = f"a net with {net.activation}"
    elif len(net.streams) > 1:
        what = "a dueling net"
    elif policy.head.atoms > 1:
        what = "a net with several outputs per action"
    elif not all(isinstance(layer, Conv | Dense) for layer in net.torso):
        what = "a residual net"
    elif any(layer.norm for layer in _layers(net) if isinstance(layer, Dense)):
        what = "a normalised layer"
    else:
        return
    raise RequestError(
        f"int8 does not go with {what}: allowed: convolutions and dense layers on images; "
        "without --int8, --to onnx takes it, and --to c takes students of vectors"
    )


def quantise(policy: Policy, frames: UInt8[np.ndarray, "N K H W"]) -> Quantised:
    """Round a policy to integers; the activations' ranges are those on `frames`."""
    check(policy)
    net = cast(QNet, policy.net)
    layers = _layers(net)
    peaks = _peaks(policy, frames)
    units = [np.array([1 / float(policy.preprocess.scale)])]
    # A channel that the frames hardly excite may still be excited by others.
    units += [np.maximum(peak, max(peak.max() / 10, 1e-6)) / 255 for peak in peaks]
    made, unit = [], 1.0
    for i, layer in enumerate(layers):
        after = units[i + 1] if i + 1 < len(layers) else None
        rounded, unit = _rounded(layer, units[i], after)
        made.append(rounded)
    centre = np.clip(np.rint(np.asarray(policy.preprocess.centre)), 0, 255).astype(np.uint8)
    return Quantised(centre, tuple(made), unit)


def _layers(net: QNet) -> tuple[Conv | Dense, ...]:
    ((dense, out),) = net.streams
    return cast("tuple[Conv | Dense, ...]", (*net.torso, dense, out))


def _peaks(policy: Policy, frames: np.ndarray) -> list[np.ndarray]:
    """The largest activation of each channel [O] of each hidden layer on the frames."""

    @eqx.filter_jit
    def largest(net: QNet, part: ArrayLike) -> list[jax.Array]:
        hidden = net.trace(policy.preprocess(jnp.asarray(part)))[1]
        return [h.reshape(-1, h.shape[-1]).max(axis=0) for h in hidden]

    net = cast(QNet, policy.net)
    parts = [largest(net, frames[i : i + 256]) for i in range(0, len(frames), 256)]
    return [np.max(peaks, axis=0).astype(np.float64) for peaks in zip(*parts, strict=True)]


def _rounded(
    layer: Conv | Dense, unit_in: np.ndarray, unit_out: np.ndarray | None
) -> tuple[Layer, float]:
    """A layer in integers, and the unit of its first sum.

    `unit_in` is what a step of each input channel stands for, or of all of them. `unit_out` is None
    for the last layer, whose sums all have one unit.
    """
    weight, bias = (np.asarray(x, np.float64) for x in (layer.weight, layer.bias))
    inputs = weight.shape[-2]  # channel by channel at each place, where a map is flattened
    weight = weight * np.tile(unit_in, inputs // len(unit_in))[:, None]
    largest = np.abs(weight).reshape(-1, bias.size).max(axis=0)
    if unit_out is None:
        largest = np.full(bias.size, largest.max())
    units = np.where(largest > 0, largest, 1.0) / 127  # dead channels get a unit of any size
    whole = np.clip(np.rint(weight / units), -127, 127).astype(np.int8)
    offset = np.rint(bias / units)
    # Inputs are at most 255 in size, so no order of summation leaves int32.
    bound = 255 * np.abs(whole.astype(np.int64)).reshape(-1, bias.size).sum(axis=0) + np.abs(offset)
    if bound.max() > LARGEST:
        raise RtpdError(f"int8: a sum could reach {bound.max():.0f}, more than int32's {LARGEST}")
    multiplier, shift = None, np.ones(bias.size, np.int32)
    if unit_out is not None:
        pairs = [fixed_point(factor) for factor in units / unit_out]
        multiplier, shift = (np.array(column, np.int32) for column in zip(*pairs, strict=True))
    stride = layer.stride if isinstance(layer, Conv) else 1
    return Layer(whole, offset.astype(np.int32), stride, multiplier, shift), float(units[0])


def fixed_point(factor: float) -> tuple[int, int]:
    """(multiplier, shift) with multiplier / 2^shift close to a positive factor.

    multiplier < 2^31 and 1 <= shift <= 62, so that an int32 times it, rounded, is below 2^63.
    """
    fraction, exponent = math.frexp(factor)
    multiplier, shift = round(fraction * 2**31), 31 - exponent
    if multiplier == 2**31:
        multiplier, shift = 2**30, shift - 1
    if shift > 62:
        return 0, 1  # less than half a step even of the largest sum
    if shift < 1:
        raise RtpdError(f"int8: a layer's scale {factor:g} is too large for 32 bits")
    return multiplier, shift


def _sums(layer: Layer, x: np.ndarray) -> np.ndarray:
    """sum(w * x) for [N H W I] or anything that flattens to [N I]."""
    weight = layer.weight.astype(np.float64)
    if not layer.is_conv:
        return x.reshape(len(x), -1) @ weight
    k, step = weight.shape[0], layer.stride
    windows = sliding_window_view(x, (k, k), axis=(1, 2))[:, ::step, ::step]  # [N h w I k k]
    windows = windows.transpose(0, 1, 2, 4, 5, 3)
    return windows.reshape(*windows.shape[:3], -1) @ weight.reshape(-1, weight.shape[-1])
