"""Layers of other programs' nets as a net of rtpd that gives the same, whatever the file format.

Images of one channel are the newest frame of a stack whose other frames have weights of 0. A net
without a hidden layer gets one of ReLU(x) and ReLU(-x), whose difference is x.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from rtpd.errors import RequestError
from rtpd.learning.teachers import POLICY
from rtpd.networks import architectures, qnet
from rtpd.networks.heads import Categorical, Logits, Scalar, ValueHead
from rtpd.networks.policy import Policy
from rtpd.system.formatting import clean
from rtpd.types import EnvSpec, Preprocess

# What is written of an agent by how its outputs are read, however it learnt.
_TEACHERS: dict[type[ValueHead], str] = {Scalar: "dqn", Logits: POLICY, Categorical: "c51"}


class Layer(NamedTuple):
    """A layer of theirs: `weight` is [O I] or, of a convolution, [O I k k]; `bias` is [O]."""

    name: str
    weight: np.ndarray
    bias: np.ndarray


class Parsed(NamedTuple):
    """What a file holds, before it is known for which environment.

    `seen` is the shape of what the net reads, None if it is not told; `scale` what observations are
    divided by; `source` says where the agent comes from, and `steps` how long it was trained, where
    that is known.
    """

    path: Path
    layers: list[Layer]
    seen: list[int] | None
    activation: str
    scale: float
    head: ValueHead
    steps: object
    source: Mapping[str, object]


def brief(value: object) -> str:
    """A value out of a file, short and on one line."""
    nested = isinstance(value, dict | list)
    return clean(type(value).__name__ if nested else value)[:100]


def found(
    weights: Mapping[str, np.ndarray], convolutions: Sequence[str], dense: Sequence[str]
) -> list[Layer]:
    """The layers of these names, input side first; each has NAME.weight and NAME.bias.

    RequestError if one is no such layer, or holds what is no finite number.
    """
    layers = []
    for name in (*convolutions, *dense):
        rank = 4 if name in convolutions else 2
        weight, bias = (_numbers(weights, f"{name}.{part}") for part in ("weight", "bias"))
        if weight.ndim != rank or bias.shape != weight.shape[:1] or not weight.size:
            shapes = f"{list(weight.shape)} and {list(bias.shape)}"
            raise RequestError(f"'{name}' has weights and biases {shapes}")
        layers.append(Layer(name, weight, bias))
    return layers


def _numbers(weights: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    values = weights[name]
    with np.errstate(over="ignore"):
        array = values.astype(np.float32)
    if values.dtype.kind != "f" or not np.isfinite(array).all():
        raise RequestError(f"'{name}' holds what is no finite number")
    return array


def fitted(
    layers: list[Layer], seen: list[int] | None, spec: EnvSpec, atoms: int = 1
) -> list[Layer]:
    """The layers as a net of rtpd for `spec` has them; `seen` is the shape that theirs reads.

    The last one gives `atoms` outputs an action.

    RequestError with both numbers unless observations and actions are those of `spec`.
    """
    stack, outputs = [spec.stack, *spec.frame_shape], len(layers[-1].bias)
    if outputs % atoms:
        raise RequestError(f"its {outputs} outputs are no {atoms} atoms an action")
    actions = outputs // atoms
    here = stack if spec.is_image else [math.prod(stack)]
    newest = spec.is_image and seen == [1, *spec.frame_shape]
    if not (seen == here or newest) or actions != spec.num_actions:
        raise RequestError(
            f"it has observations {seen} and {actions} actions, "
            f"{spec.name} has observations {here} and {spec.num_actions} actions"
        )
    first = layers[0]
    if newest and first.weight.shape[1] == 1:
        before = [(0, 0), (spec.stack - 1, 0), (0, 0), (0, 0)]
        layers = [first._replace(weight=np.pad(first.weight, before)), *layers[1:]]
    return layers if len(layers) > 1 else [_both_signs(first.weight.shape[1]), _signed(first)]


def _both_signs(inputs: int) -> Layer:
    """A hidden layer that gives x and -x, so that nothing of x is lost behind a ReLU."""
    if 2 * inputs > architectures.MOST_WIDTH:
        raise RequestError(
            f"it has no hidden layer and {inputs} inputs: allowed: {architectures.MOST_WIDTH // 2}"
        )
    one = np.eye(inputs, dtype=np.float32)
    return Layer("none", np.concatenate([one, -one]), np.zeros(2 * inputs, np.float32))


def _signed(layer: Layer) -> Layer:
    """The layer behind `_both_signs` that gives what this one gives of x."""
    return layer._replace(weight=np.concatenate([layer.weight, -layer.weight], axis=1))


def net_text(layers: Sequence[Layer]) -> str:
    """What `rtpd.networks.architectures` calls a net of these layers."""
    widths = [len(layer.bias) for layer in layers[:-1]]
    channels = sum(layer.weight.ndim == 4 for layer in layers)
    dense = "-".join(map(str, widths[channels:]))
    return f"conv{'-'.join(map(str, widths[:channels]))}x{dense}" if channels else f"mlp{dense}"


def net(layers: Sequence[Layer], spec: EnvSpec) -> qnet.QNet:
    """Our net of ReLUs with their weights; RequestError if a shape differs."""
    text, outputs = net_text(layers), len(layers[-1].bias)
    like = eqx.filter_eval_shape(architectures.build, text, spec, outputs, key=jr.key(0))
    filled, channels = [], 0
    for ours, (name, weight, bias) in zip([*like.torso, *like.streams[0]], layers, strict=True):
        weight = weight.transpose(2, 3, 1, 0) if weight.ndim == 4 else weight.T
        if weight.shape != ours.weight.shape:
            raise RequestError(
                f"'{name}' has weights {list(weight.shape)}, "
                f"'{text}' on {spec.name} needs {list(ours.weight.shape)}"
            )
        if channels and weight.ndim == 2:  # theirs is flat by channels, ours by pixels
            weight = weight.reshape(channels, -1, len(bias)).swapaxes(0, 1).reshape(weight.shape)
        channels = len(bias) if weight.ndim == 4 else 0
        arrays = jnp.asarray(weight), jnp.asarray(bias)
        filled.append(eqx.tree_at(lambda m: (m.weight, m.bias), ours, arrays))
    *torso, dense, out = filled
    return qnet.QNet(tuple(torso), ((dense, out),))


def policy(found: Parsed, spec: EnvSpec) -> Policy:
    """The agent as a teacher for `spec`, as `agents.store` keeps it.

    RequestError unless it was trained for such observations and actions.
    """
    try:
        layers = fitted(found.layers, found.seen, spec, found.head.atoms)
        made = replace(net(layers, spec), activation=found.activation)
    except RequestError as error:
        raise RequestError(f"{found.path}: {error}") from None
    facts = {
        "agent": "teacher",
        "net": net_text(layers),
        "loss": None,
        "teacher": _TEACHERS[type(found.head)],
        **({"atoms": asdict(found.head)} if isinstance(found.head, Categorical) else {}),
        "dueling": False,
        "norm": False,
        "activation": found.activation,
        "num_outputs": len(layers[-1].bias),
        "step": found.steps if type(found.steps) is int else None,
        "source": dict(found.source),
    }
    preprocess = Preprocess(jnp.zeros(spec.frame_shape), jnp.full(spec.scale_shape, found.scale))
    return Policy(made, preprocess, spec, facts, found.head)
