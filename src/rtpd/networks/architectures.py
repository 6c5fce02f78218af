"""From a net's text to its layers.

A text is a name in `NETS`, or `conv8-8-8x64` (channels of up to five convolutions, then one dense
layer of 64, or two with x64-32), `impala2` (residual, twice as wide as `impala`), or `mlp64-64`.
Convolutions have the kernels 8, 4, 3 and strides 4, 2, 1 of Mnih et al. 2015, further ones 3 and 1,
if the text does not say otherwise: `conv8k8s8-8k3s1x64`.
"""

import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import jax.random as jr
from jaxtyping import PRNGKeyArray

from rtpd.errors import ConfigError, unknown
from rtpd.networks.layers import Conv, Dense, Residual, Stage
from rtpd.networks.qnet import QNet
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
