"""Q-networks of minibatches.

A net's text is a name in `NETS`, or `conv8-8-8x64` (channels of up to five convolutions, then one
dense layer of 64, or two with x64-32), `impala2` (residual, twice as wide as `impala`), or
`mlp64-64`. Convolutions have the kernels 8, 4, 3 and strides 4, 2, 1 of Mnih et al. 2015, further
ones 3 and 1, if the text does not say otherwise: `conv8k8s8-8k3s1x64`.
Image nets read [B H W K] (frames last, the layout that CPU convolutions want), vector nets [B D].

The dtype of the input is the one that convolutions, and the first dense layer behind them, compute
in: bfloat16 inputs have their products taken in bfloat16 and summed in float32. All that follows,
the weights themselves and the outputs are float32.
"""

import itertools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jax.extend import core
from jaxtyping import Array, Float, PRNGKeyArray

from rtpd.errors import ConfigError, unknown
from rtpd.networks.convolution import convolve
from rtpd.types import EnvSpec


@dataclass(frozen=True)
class ConvShape:
    """Convolutions without padding, then dense layers; one entry of each tuple per layer."""

    channels: tuple[int, ...]
    hidden: tuple[int, ...]
    kernels: tuple[int, ...] = (8, 4, 3)
    strides: tuple[int, ...] = (4, 2, 1)


@dataclass(frozen=True)
class ResidualShape:
    """Stages of a convolution, a pooling and two residual blocks, then dense layers."""

    channels: tuple[int, ...]
    hidden: tuple[int, ...]


@dataclass(frozen=True)
class MlpShape:
    """Dense layers of these widths."""

    hidden: tuple[int, ...]


Shape = ConvShape | ResidualShape | MlpShape

NETS: dict[str, Shape] = {
    # Mnih et al. 2015: 1,693,362 parameters at 18 actions
    "nature": ConvShape((32, 64, 64), (512,)),
    # Rusu et al. 2015, table 1 (net4: their smallest); named after their % of "nature"
    "net25": ConvShape((16, 32, 32), (256,)),
    "net7": ConvShape((16, 16, 16), (128,)),
    "net4": ConvShape((16, 16, 16), (64,)),
    # our choice for the 1.7 % of Sun & Fazli 2019
    "net1.7": ConvShape((8, 8, 8), (64,)),
    # ours: a third stride of 2 leaves a 4x4 map, so that the dense layer stays small;
    # the first layer has the kernel and stride of the others, so that all are computed as one
    "net0.5": ConvShape((8, 8, 8), (32,), strides=(4, 2, 2)),
    "net0.1": ConvShape((3, 4, 4), (8,), kernels=(8, 3, 3), strides=(4, 2, 2)),
    # the residual net of Espeholt et al. 2018, arXiv:1802.01561, figure 3, without its LSTM and
    # with the dense layer of "nature"
    "impala": ResidualShape((16, 32, 32), (512,)),
}


MOST_WIDTH = 4096  # of a layer
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


# What may stand behind hidden layers; ours have ReLU, read ones also others, as PyTorch has them.
ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu": jax.nn.relu,
    "tanh": jnp.tanh,
    "sigmoid": jax.nn.sigmoid,
    "elu": jax.nn.elu,
    "leaky_relu": jax.nn.leaky_relu,
    "silu": jax.nn.silu,
    "gelu": partial(jax.nn.gelu, approximate=False),
}


class QNet(eqx.Module):
    """A ReLU torso and one stream of outputs, or two for a dueling net.

    Dueling: q = value + advantage - mean(advantage), Wang et al. 2016, arXiv:1511.06581, eq. 9,
    with a hidden layer for each stream; where a teacher has several outputs per action, for each of
    them (Hessel et al. 2018).
    """

    torso: tuple[Conv | Residual | Dense, ...]
    streams: tuple[tuple[Dense, Dense], ...]
    activation: str = eqx.field(static=True, default="relu")  # of `ACTIVATIONS`

    @property
    def num_outputs(self) -> int:
        """How many outputs it has."""
        return self.streams[0][1].bias.shape[0]

    def trace(
        self, x: Float[Array, "B ..."], first: Float[Array, "B ..."] | None = None
    ) -> tuple[Float[Array, "B Q"], list[Array]]:
        """Outputs of a minibatch and the activations of each hidden ReLU layer, input side first.

        `first` is what the first layer gives for `x`, where that is known already.
        """
        hidden, activate = [], ACTIVATIONS[self.activation]
        for i, layer in enumerate(self.torso):
            x = activate(layer(x) if i or first is None else first)
            hidden.append(x)
        outputs = []
        for dense, out in self.streams:
            h = activate(dense(x))
            hidden.append(h)
            outputs.append(out(h))
        if len(outputs) == 2:
            advantage, value = outputs
            advantage = advantage.reshape(len(x), -1, value.shape[1])
            q = value[:, None] + advantage - jnp.mean(advantage, axis=1, keepdims=True)
            return q.reshape(len(x), -1), hidden
        return outputs[0], hidden

    def __call__(self, x: Float[Array, "B ..."]) -> Float[Array, "B Q"]:
        """Outputs of a minibatch."""
        return self.trace(x)[0]


def with_noise(net: QNet, key: PRNGKeyArray) -> QNet:
    """The net with a draw of its noisy layers' weights; the same net where it has none.

    Factorised Gaussian noise, Fortunato et al. 2018, eq. 10 and 11: one number per input and one
    per output of a layer. Gradients reach the means and the deviations.
    """

    def draw(layer: Dense, key: PRNGKeyArray) -> Dense:
        if layer.noise is None:
            return layer
        inputs, outputs = layer.weight.shape
        raw = jr.normal(key, (inputs + outputs,))
        scaled = jnp.sign(raw) * jnp.sqrt(jnp.abs(raw))
        into, out = scaled[:inputs], scaled[inputs:]
        weight = layer.weight + layer.noise[0] * jnp.outer(into, out)
        bias = layer.bias + layer.noise[1] * out
        return eqx.tree_at(lambda d: (d.weight, d.bias), layer, (weight, bias))

    keys = iter(jr.split(key, 2 * len(net.streams)))
    streams = tuple((draw(dense, next(keys)), draw(out, next(keys))) for dense, out in net.streams)
    return eqx.tree_at(lambda n: n.streams, net, streams)


def without_noise(net: QNet) -> QNet:
    """The net of the means of the weights, which needs no draw."""
    return eqx.tree_at(
        lambda n: [layer.noise for stream in n.streams for layer in stream],
        net,
        replace_fn=lambda _: None,
        is_leaf=lambda leaf: leaf is None,
    )


def with_actions(net: QNet, actions: slice) -> QNet:
    """The net with some of its outputs only; not for dueling nets."""
    ((dense, out),) = net.streams
    out = eqx.tree_at(
        lambda d: (d.weight, d.bias), out, (out.weight[:, actions], out.bias[actions])
    )
    return eqx.tree_at(lambda n: n.streams, net, ((dense, out),))


def _draw(shape: tuple[int, ...], key: PRNGKeyArray, *, he: bool) -> tuple[Array, Array]:
    """Weights and bias from U(-b, b), b = 1/sqrt(fan in), as in Mnih et al. 2015.

    With `he`, b = sqrt(6/fan in) and no bias: the signal keeps its size from one ReLU layer to
    the next (He et al. 2015, arXiv:1502.01852).
    """
    fan_in, outputs = math.prod(shape[:-1]), shape[-1:]
    weight_key, bias_key = jr.split(key)
    if he:
        bound = math.sqrt(6 / fan_in)
        return jr.uniform(weight_key, shape, minval=-bound, maxval=bound), jnp.zeros(outputs)
    bound = 1 / math.sqrt(fan_in)
    return (
        jr.uniform(weight_key, shape, minval=-bound, maxval=bound),
        jr.uniform(bias_key, outputs, minval=-bound, maxval=bound),
    )


MOST_CHANNELS = 32  # of first convolutions that are done as one


def outputs_of(
    family: Mapping[str, QNet], x: Float[Array, "B ..."]
) -> dict[str, Float[Array, "B Q"]]:
    """Outputs of several nets for a minibatch, by name.

    First convolutions of the same kernel and stride are done as one, up to `MOST_CHANNELS`: a small
    net's few channels alone leave most of the arithmetic units idle, and more than a teacher's
    fall out of a core's cache, so that the weights' gradient takes twice as long (docs/LOG.md).
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


def parse(text: str) -> Shape:
    """The shape that a net's text names; ConfigError in one line if it names none."""
    if len(text) > 200:
        raise ConfigError(f"net '{text[:40]} ...' has {len(text):,} characters: allowed: 200")
    if text in NETS:
        return NETS[text]
    if match := re.fullmatch(rf"conv({_CONV}(?:-{_CONV})*)x(\d+(?:-\d+)*)", text):
        shape = _conv_shape(text, match[1].split("-"), _widths(match[2]))
        sizes = shape.channels + shape.hidden
    elif match := re.fullmatch(r"impala(\d+)", text):
        wider = int(match.group(1))
        shape = ResidualShape((16 * wider, 32 * wider, 32 * wider), (512,))
        sizes = shape.channels
    elif match := re.fullmatch(r"mlp(\d+(?:-\d+)*)", text):
        sizes = _widths(match.group(1))
        shape = MlpShape(sizes)
    else:
        raise ConfigError(unknown("net", text, [*NETS, "conv8-8-8x64", "mlp64-64"]))
    if not all(0 < n <= MOST_WIDTH for n in sizes):
        raise ConfigError(f"net '{text}': every width must be 1 to {MOST_WIDTH}")
    return shape


_CONV = r"\d+(?:k\d+)?(?:s\d+)?"


def _conv_shape(text: str, layers: list[str], hidden: tuple[int, ...]) -> ConvShape:
    """Convolutions of "8k8s8", where kernel and stride may be left out."""
    usual = zip((8, 4, 3, 3, 3), (4, 2, 1, 1, 1), strict=True)
    if len(layers) > 5:
        raise ConfigError(f"net '{text}' has {len(layers)} convolutions: allowed: 1 to 5")
    found = []
    for layer, (kernel, stride) in zip(layers, usual, strict=False):
        said = dict(re.findall(r"([ks]|^)(\d+)", layer))
        found.append((int(said[""]), int(said.get("k", kernel)), int(said.get("s", stride))))
    channels, kernels, strides = zip(*found, strict=True)
    if not all(1 <= n <= 84 for n in kernels + strides):
        raise ConfigError(f"net '{text}': every kernel and stride must be 1 to 84")
    return ConvShape(channels, hidden, kernels, strides)


def _widths(text: str) -> tuple[int, ...]:
    """Numbers of "64-64"."""
    return tuple(int(n) for n in text.split("-"))


def build(
    text: str,
    spec: EnvSpec,
    num_outputs: int,
    *,
    key: PRNGKeyArray,
    dueling: bool = False,
    atoms: int = 1,
    he: bool = False,
    norm: bool = False,
    noisy: bool = False,
) -> QNet:
    """A fresh net for the observations of `spec`; ConfigError if it cannot read them.

    `he` draws the hidden layers as He et al. 2015 do, see `_draw`; the outputs always start small.
    `norm` normalises the hidden layer of each stream before its ReLU; `noisy` makes the streams'
    layers noisy. `num_outputs` are those of all actions, `atoms` for each of them.
    """
    shape = parse(text)
    if isinstance(shape, MlpShape) == spec.is_image:
        needs, has = ("vectors", "images") if spec.is_image else ("images", "vectors")
        fix = "mlp64-64" if has == "vectors" else "net1.7 or conv8-8-8x64"
        raise ConfigError(f"net '{text}' reads {needs} but {spec.name} gives {has}: use {fix}")
    torso_key, *stream_keys = jr.split(key, 3)
    if isinstance(shape, MlpShape):
        torso, features, dense_key = (), spec.stack * math.prod(spec.frame_shape), torso_key
    else:
        if isinstance(shape, ResidualShape):
            torso, features = _stages(shape, spec, torso_key, he)
        else:
            torso, features = _convolutions(shape, text, spec, torso_key, he)
        dense_key = jr.fold_in(torso_key, len(shape.channels))  # a key that they did not use
    *between, hidden = shape.hidden
    layers, features = _dense_layers(features, between, dense_key, he)
    streams = []
    widths = (num_outputs, atoms) if dueling else (num_outputs,)
    for width, stream_key in zip(widths, stream_keys[: len(widths)], strict=True):
        dense_key, out_key = jr.split(stream_key)
        dense = Dense(features, hidden, key=dense_key, he=he, norm=norm, noisy=noisy)
        streams.append((dense, Dense(hidden, width, key=out_key, he=False, noisy=noisy)))
    return QNet((*torso, *layers), tuple(streams))


def _convolutions(
    shape: ConvShape, text: str, spec: EnvSpec, key: PRNGKeyArray, he: bool
) -> tuple[tuple[Conv, ...], int]:
    """The convolutions and the number of features that they give."""
    layers, (height, width), inputs = [], spec.frame_shape, spec.stack
    keys = jr.split(key, len(shape.channels))
    for outputs, kernel, stride, k in zip(
        shape.channels, shape.kernels, shape.strides, keys, strict=True
    ):
        height, width = (height - kernel) // stride + 1, (width - kernel) // stride + 1
        if min(height, width) < 1:
            raise ConfigError(f"net '{text}': frames of {spec.frame_shape} are too small for it")
        layers.append(Conv(inputs, outputs, kernel, stride, key=k, he=he))
        inputs = outputs
    return tuple(layers), height * width * inputs


def _stages(
    shape: ResidualShape, spec: EnvSpec, key: PRNGKeyArray, he: bool
) -> tuple[tuple[Residual, ...], int]:
    """The stages as one layer, and the number of features that they give."""
    widths, keys = (spec.stack, *shape.channels), jr.split(key, len(shape.channels))
    pairs = zip(itertools.pairwise(widths), keys, strict=True)
    stages = tuple(Stage(i, o, key=k, he=he) for (i, o), k in pairs)
    height, width = (math.ceil(size / 2 ** len(stages)) for size in spec.frame_shape)
    return (Residual(stages),), height * width * widths[-1]


def _dense_layers(
    features: int, widths: Sequence[int], key: PRNGKeyArray, he: bool
) -> tuple[tuple[Dense, ...], int]:
    """All dense layers but the last, which belongs to the streams, and the features they give."""
    keys, sizes = jr.split(key, len(widths) + 1)[1:], (features, *widths)
    pairs = zip(itertools.pairwise(sizes), keys, strict=True)
    return tuple(Dense(i, o, key=k, he=he) for (i, o), k in pairs), sizes[-1]
