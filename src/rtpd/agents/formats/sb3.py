"""Agents of Stable-Baselines3 (DQN) and sb3-contrib (QR-DQN) as policies, without PyTorch.

A .zip of theirs holds `data`, JSON in which whatever is no plain value is pickled (and is not
looked at here); `policy.pth`, the weights; and `_stable_baselines3_version`.

    image -> / 255 -> three convolutions and a dense layer (NatureCNN) -> dense layers -> outputs
    vector -> dense layers -> outputs

What is read is made into a net of rtpd that gives the same. Images of one channel are the newest
frame of a stack whose other frames have weights of 0. A net without a hidden layer gets one of
ReLU(x) and ReLU(-x), whose difference is x.

The outputs of a QR-DQN are [N A], all actions of a quantile side by side; Q-values are their means
over N. The last layer has no ReLU, so that the mean of its weights gives the mean of its outputs:
the policy made here has one output per action, and agrees with the original to float32 rounding.
"""

import math
import re
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from rtpd import envs
from rtpd.agents.formats import torch_file
from rtpd.envs import EnvOptions
from rtpd.errors import CheckpointError, RequestError, unknown
from rtpd.networks import architectures, qnet
from rtpd.networks.policy import Policy
from rtpd.storage.archive import Archive, why
from rtpd.storage.files import MOST_BYTES, MOST_JSON_BYTES, contents, parse_json, sha256
from rtpd.system.formatting import clean
from rtpd.types import EnvSpec, Preprocess

_NATURE = "stable_baselines3.common.torch_layers.NatureCNN"
_FLATTEN = "stable_baselines3.common.torch_layers.FlattenExtractor"
_NATURE_LAYERS = ("cnn.0", "cnn.2", "cnn.4", "linear.0")
_ACTIVATION = "torch.nn.modules.activation."
_ACTIVATIONS = {
    "ReLU": "relu", "Tanh": "tanh", "Sigmoid": "sigmoid", "ELU": "elu", "LeakyReLU": "leaky_relu",
    "SiLU": "silu", "GELU": "gelu",
}  # fmt: skip


class Kind(NamedTuple):
    """A policy class of theirs: its algorithm, what its net is called, what reads observations."""

    algorithm: str
    net: str
    extractor: str
    activation: str = "relu"
    scale: float = 1.0  # what observations are divided by


KINDS = {
    "stable_baselines3.dqn.policies.DQNPolicy": Kind("DQN", "q_net", _FLATTEN),  # MlpPolicy
    "stable_baselines3.dqn.policies.CnnPolicy": Kind("DQN", "q_net", _NATURE),
    "sb3_contrib.qrdqn.policies.QRDQNPolicy": Kind("QR-DQN", "quantile_net", _FLATTEN),
    "sb3_contrib.qrdqn.policies.CnnPolicy": Kind("QR-DQN", "quantile_net", _NATURE),
}


class Layer(NamedTuple):
    """A layer of theirs: `weight` is [O I] or, of a convolution, [O I k k]; `bias` is [O]."""

    name: str
    weight: np.ndarray
    bias: np.ndarray


def load(path: str | Path, env: str, options: EnvOptions = EnvOptions()) -> Policy:
    """The agent of a .zip file, as a policy for `env` played with `options`.

    Raises:
        RequestError: if there is no such file, the agent is of a kind that is not read, or it was
            trained for other observations or actions than `env` has.
        CheckpointError: if the file is damaged, or asks for more than tensors.
    """
    made = envs.make(env, 1, options)
    made.close()
    return read(path, made.spec)


def read(path: str | Path, spec: EnvSpec) -> Policy:
    """As `load`, for an environment that is there already."""
    path = Path(path)
    archive = _opened(path)
    about = _about(archive)
    try:
        kind = _kind(about)
        saved = archive.read("policy.pth")
        layers = _layers(torch_file.state_dict(saved, f"{path}: policy.pth"), kind)
        if kind.algorithm == "QR-DQN":
            layers[-1] = _mean_of_quantiles(layers[-1], about.get("n_quantiles"))
        bent = kind.extractor == _FLATTEN and len(layers) > 1  # NatureCNN has ReLU of its own
        layers = _fitted(layers, kind, _part(about, "observation_space"), spec)
        text = _net_text(layers)
        net = replace(_net(text, layers, spec), activation=kind.activation if bent else "relu")
    except RequestError as error:
        raise RequestError(f"{path}: {error}") from None
    steps = about.get("num_timesteps")
    facts = {
        "agent": "teacher",
        "net": text,
        "loss": None,
        "teacher": "dqn",  # one output per action, whatever it was trained with
        "dueling": False,
        "norm": False,
        "activation": net.activation,
        "num_outputs": spec.num_actions,
        "step": steps if type(steps) is int else None,
        "source": {
            "file": clean(path.name),
            "sha256": sha256(contents(path) if path.is_file() else saved),
            "algorithm": kind.algorithm,
            "stable_baselines3": _version(archive),
        },
    }
    scale = jnp.full(spec.scale_shape, kind.scale)
    preprocess = Preprocess(jnp.zeros(spec.frame_shape), scale)
    return Policy(net, preprocess, spec, facts)


class _Folder:
    """An archive that was unpacked: its members are the files of a folder."""

    def __init__(self, path: Path) -> None:
        self.source, self._path = str(path), path
        self.names = frozenset(p.name for p in path.iterdir())

    def read(self, name: str, most: int = MOST_BYTES) -> bytes:
        """A file; CheckpointError if it is absent or larger than `most`."""
        if name not in self.names:
            raise CheckpointError(f"{self.source} holds no {name!r}")
        return contents(self._path / name, most)


def is_agent(path: Path) -> bool:
    """Whether a path looks like an agent of theirs: a zip by any name, or one unpacked."""
    return (path / "policy.pth").is_file() or (path.is_file() and zipfile.is_zipfile(path))


def _opened(path: Path) -> "Archive | _Folder":
    if (path / "policy.pth").is_file():
        return _Folder(path)
    return Archive(contents(path), str(path))


def _about(archive: "Archive | _Folder") -> dict[str, Any]:
    """What the JSON says; what is pickled in it stays text."""
    try:
        about = parse_json(archive.read("data", MOST_JSON_BYTES))
    except ValueError as error:
        raise CheckpointError(f"{archive.source}: 'data' is no JSON: {why(error)}") from None
    if not isinstance(about, dict):
        raise CheckpointError(f"{archive.source}: 'data' does not describe an agent")
    return about


def _version(archive: "Archive | _Folder") -> str | None:
    name = "_stable_baselines3_version"
    if name not in archive.names:
        return None
    return clean(archive.read(name, 1000).decode(errors="replace").strip())[:40]


def _kind(about: dict[str, Any]) -> Kind:
    """What the agent is; RequestError if it is not one that can be read."""
    policy = _part(about, "policy_class")
    name = re.match(r"<function (\w+)\.__init__", _brief(policy.get("__init__")))
    found = f"{_brief(policy.get('__module__'))}.{name.group(1) if name else '?'}"
    if found not in KINDS:
        raise RequestError(
            f"it holds a '{found}': allowed: MlpPolicy and CnnPolicy of DQN and QR-DQN"
        )
    kind, options = KINDS[found], _part(about, "policy_kwargs")
    extractor = _class(options.get("features_extractor_class", kind.extractor))
    activation = _class(options.get("activation_fn", f"{_ACTIVATION}ReLU"))
    bend = _ACTIVATIONS.get(activation.removeprefix(_ACTIVATION))
    if extractor not in (_NATURE, _FLATTEN):
        raise RequestError(unknown("features extractor", extractor, (_NATURE, _FLATTEN)))
    if bend is None or not activation.startswith(_ACTIVATION):
        known = [_ACTIVATION + name for name in _ACTIVATIONS]
        raise RequestError(unknown("activation", activation, known))
    whole = extractor == _NATURE and options.get("normalize_images", True) is True
    return kind._replace(extractor=extractor, activation=bend, scale=255.0 if whole else 1.0)


def _part(about: dict[str, Any], name: str) -> dict[str, Any]:
    found = about.get(name)
    return found if isinstance(found, dict) else {}


def _class(value: object) -> str:
    """The dotted name in "<class 'a.b.C'>"."""
    return _brief(value).removeprefix("<class '").removesuffix("'>")


def _brief(value: object) -> str:
    """A value of the JSON, short and on one line."""
    nested = isinstance(value, dict | list)
    return clean(type(value).__name__ if nested else value)[:100]


def _layers(weights: dict[str, np.ndarray], kind: Kind) -> list[Layer]:
    """The net's layers, input side first; RequestError if it has others than those named above."""
    prefix, names = f"{kind.net}.", []
    if kind.extractor == _NATURE:
        names = [f"{prefix}features_extractor.{part}" for part in _NATURE_LAYERS]
    depth = sum(bool(re.fullmatch(rf"{prefix}{prefix}\d+\.weight", key)) for key in weights)
    names += [f"{prefix}{prefix}{2 * i}" for i in range(depth)]  # a ReLU after each but the last
    wanted = {f"{name}.{part}" for name in names for part in ("weight", "bias")}
    odd = sorted(wanted ^ {key for key in weights if key.startswith(prefix)})
    if odd or not depth:
        first = _brief(odd[0] if odd else prefix)
        raise RequestError(
            f"the net is not built as expected, first: '{first}': allowed: "
            "NatureCNN or a flat input, then dense layers with ReLU"
        )
    layers = []
    for name in names:
        rank = 4 if ".cnn." in name else 2
        weight, bias = (_numbers(weights, f"{name}.{part}") for part in ("weight", "bias"))
        if weight.ndim != rank or bias.shape != weight.shape[:1] or not weight.size:
            shapes = f"{list(weight.shape)} and {list(bias.shape)}"
            raise RequestError(f"'{name}' has weights and biases {shapes}")
        layers.append(Layer(name, weight, bias))
    return layers


def _numbers(weights: dict[str, np.ndarray], name: str) -> np.ndarray:
    found = weights[name]
    with np.errstate(over="ignore"):
        array = found.astype(np.float32)
    if found.dtype.kind != "f" or not np.isfinite(array).all():
        raise RequestError(f"'{name}' holds what is no finite number")
    return array


def _mean_of_quantiles(layer: Layer, count: object) -> Layer:
    """A last layer that gives the means of the quantiles, from one that gives `count` of each."""
    outputs = len(layer.bias)
    if type(count) is not int or count < 1 or outputs % count:
        raise RequestError(f"{outputs} outputs are no {_brief(count)} quantiles an action")
    parts = (layer.weight.reshape(count, -1, layer.weight.shape[1]), layer.bias.reshape(count, -1))
    weight, bias = (part.mean(0, np.float64).astype(np.float32) for part in parts)
    return Layer(layer.name, weight, bias)


def _fitted(layers: list[Layer], kind: Kind, space: dict[str, Any], spec: EnvSpec) -> list[Layer]:
    """The layers as a net of rtpd for `spec` has them.

    RequestError with both numbers unless observations and actions are those of `spec`.
    """
    there, stack = [layers[0].weight.shape[1]], [spec.stack, *spec.frame_shape]
    if kind.extractor == _NATURE:
        if space.get("dtype") != "uint8":
            raise RequestError(f"it reads images of {_brief(space.get('dtype'))}: allowed: uint8")
        there = _shape(space)
        hidden = len(layers) > len(_NATURE_LAYERS) + 1
        if kind.activation != "relu" and hidden:
            raise RequestError(
                f"it has {kind.activation} behind NatureCNN, which has ReLU: allowed: ReLU"
            )
    here = stack if spec.is_image else [math.prod(stack)]
    actions = len(layers[-1].bias)
    newest = spec.is_image and there == [1, *spec.frame_shape]
    if not (there == here or newest) or actions != spec.num_actions:
        raise RequestError(
            f"it has observations {there} and {actions} actions, "
            f"{spec.name} has observations {here} and {spec.num_actions} actions"
        )
    if newest and layers[0].weight.shape[1] == 1:
        before = [(0, 0), (spec.stack - 1, 0), (0, 0), (0, 0)]
        layers[0] = layers[0]._replace(weight=np.pad(layers[0].weight, before))
    return layers if len(layers) > 1 else [_both_signs(layers[0].weight.shape[1]), _signed(*layers)]


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


def _shape(space: dict[str, Any]) -> list[int] | None:
    """The shape of observations, where it is told; Gym called it `shape`, Gymnasium `_shape`."""
    shape = space.get("_shape", space.get("shape"))
    told = isinstance(shape, list) and len(shape) < 9 and all(type(n) is int for n in shape)
    return shape if told else None


def _net_text(layers: list[Layer]) -> str:
    """What `rtpd.networks.qnet` calls a net of these layers."""
    widths = [len(layer.bias) for layer in layers[:-1]]
    channels = sum(layer.weight.ndim == 4 for layer in layers)
    dense = "-".join(map(str, widths[channels:]))
    return f"conv{'-'.join(map(str, widths[:channels]))}x{dense}" if channels else f"mlp{dense}"


def _net(text: str, layers: list[Layer], spec: EnvSpec) -> qnet.QNet:
    """Our net with their weights; RequestError if a shape differs."""
    like = eqx.filter_eval_shape(architectures.build, text, spec, spec.num_actions, key=jr.key(0))
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
