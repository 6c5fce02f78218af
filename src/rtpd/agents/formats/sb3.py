"""Agents of Stable-Baselines3 and sb3-contrib as policies, without PyTorch: DQN, QR-DQN, PPO, A2C.

A .zip of theirs holds `data`, JSON in which whatever is no plain value is pickled (and is not
looked at here); `policy.pth`, the weights; and `_stable_baselines3_version`.

    image -> / 255 -> three convolutions and a dense layer (NatureCNN) -> dense layers -> outputs
    vector -> dense layers -> outputs

The outputs of PPO and A2C are the logits of their policy; what computes the value of a state is
not read. Those of a QR-DQN are [N A], all actions of a quantile side by side; Q-values are their
means over N. The last layer has no ReLU, so that the mean of its weights gives the mean of its
outputs: the policy made here has one output per action, and agrees with the original to float32
rounding.
"""

import re
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rtpd.agents.formats import layers as nets
from rtpd.agents.formats import sb3_kind, torch_file
from rtpd.agents.formats.layers import Layer, Parsed, brief
from rtpd.agents.formats.sb3_kind import ACTOR, FLATTEN, NATURE, Kind, part
from rtpd.errors import CheckpointError, RequestError
from rtpd.networks.heads import Logits, Scalar
from rtpd.storage.archive import Archive, why
from rtpd.storage.files import MOST_BYTES, MOST_JSON_BYTES, contents, parse_json, sha256
from rtpd.system.formatting import clean

_NATURE_LAYERS = ("cnn.0", "cnn.2", "cnn.4", "linear.0")


def parsed(path: Path) -> Parsed:
    """The agent of a .zip file, or of a folder that one was unpacked into.

    Raises:
        RequestError: if there is no such file, or the agent is of a kind that is not read.
        CheckpointError: if the file is damaged, or asks for more than tensors.
    """
    archive = _opened(path)
    about = _about(archive)
    try:
        kind = sb3_kind.of(about)
        saved = archive.read("policy.pth")
        layers = _layers(torch_file.state_dict(saved, f"{path}: policy.pth"), kind)
        if kind.algorithm == "QR-DQN":
            layers[-1] = _mean_of_quantiles(layers[-1], about.get("n_quantiles"))
        bent = kind.extractor == FLATTEN and len(layers) > 1  # NatureCNN has ReLU of its own
        seen = _seen(layers, kind, part(about, "observation_space"))
    except RequestError as error:
        raise RequestError(f"{path}: {error}") from None
    return Parsed(
        path,
        layers,
        seen=seen,
        activation=kind.activation if bent else "relu",
        scale=kind.scale,
        head=Scalar() if kind.gives_q else Logits(),
        steps=about.get("num_timesteps"),
        source={
            "file": clean(path.name),
            "sha256": sha256(contents(path) if path.is_file() else saved),
            "algorithm": kind.algorithm,
            "stable_baselines3": _version(archive),
        },
    )


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


def _layers(weights: dict[str, np.ndarray], kind: Kind) -> list[Layer]:
    """The net's layers, input side first; RequestError if it has others than those named above."""
    parts = _actor(weights) if kind.net == ACTOR else _q_net(weights, kind.net)
    convolutions: list[str] = []
    dense = [name for prefix in parts.dense for name in _numbered(weights, prefix)]
    dense += [parts.last] if parts.last else []
    complete = bool(dense)
    if kind.extractor == NATURE:
        *convolutions, linear = (f"{parts.extractor}{part}" for part in _NATURE_LAYERS)
        dense = [linear, *dense]
    names = {f"{name}.{part}" for name in (*convolutions, *dense) for part in ("weight", "bias")}
    odd = sorted(names ^ parts.keys)
    if odd or not complete:
        first = brief(odd[0] if odd else kind.net)
        raise RequestError(
            f"the net is not built as expected, first: '{first}': allowed: "
            "NatureCNN or a flat input, then dense layers with ReLU"
        )
    return nets.found(weights, convolutions, dense)


class _Parts(NamedTuple):
    """Where in a state dict a net is: prefixes of its parts, and all keys that belong to it."""

    extractor: str
    dense: tuple[str, ...]  # of layers that are numbered
    last: str | None  # of the outputs, where it has a name of its own
    keys: set[str]


def _q_net(weights: dict[str, np.ndarray], net: str) -> _Parts:
    keys = {key for key in weights if key.startswith(f"{net}.")}
    return _Parts(f"{net}.features_extractor.", (f"{net}.{net}.",), None, keys)


def _actor(weights: dict[str, np.ndarray]) -> _Parts:
    """What an actor-critic acts with: all but the features and the layers of its value.

    Since 1.7 the features of the actor have a name of their own, beside another name of the same
    where actor and critic share them; before 1.8 layers too could be shared.
    """
    own = "pi_features_extractor."
    extractor = own if any(key.startswith(own) for key in weights) else "features_extractor."
    others = {"features_extractor.", own, "vf_features_extractor."} - {extractor}
    ignored = (*others, "mlp_extractor.value_net.", "value_net.")
    keys = {key for key in weights if not key.startswith(ignored)}
    dense = ("mlp_extractor.shared_net.", "mlp_extractor.policy_net.")
    return _Parts(extractor, dense, "action_net", keys)


def _numbered(weights: dict[str, np.ndarray], prefix: str) -> list[str]:
    """The dense layers under a prefix: 0, 2, 4, ..., with an activation behind each."""
    depth = sum(bool(re.fullmatch(rf"{re.escape(prefix)}\d+\.weight", key)) for key in weights)
    return [f"{prefix}{2 * i}" for i in range(depth)]


def _mean_of_quantiles(layer: Layer, count: object) -> Layer:
    """A last layer that gives the means of the quantiles, from one that gives `count` of each."""
    outputs = len(layer.bias)
    if type(count) is not int or count < 1 or outputs % count:
        raise RequestError(f"{outputs} outputs are no {brief(count)} quantiles an action")
    parts = (layer.weight.reshape(count, -1, layer.weight.shape[1]), layer.bias.reshape(count, -1))
    weight, bias = (part.mean(0, np.float64).astype(np.float32) for part in parts)
    return Layer(layer.name, weight, bias)


def _seen(layers: list[Layer], kind: Kind, space: dict[str, Any]) -> list[int] | None:
    """The shape of what the net reads, where it is told."""
    if kind.extractor != NATURE:
        return [layers[0].weight.shape[1]]
    if space.get("dtype") != "uint8":
        raise RequestError(f"it reads images of {brief(space.get('dtype'))}: allowed: uint8")
    hidden = len(layers) > len(_NATURE_LAYERS) + 1
    if kind.activation != "relu" and hidden:
        raise RequestError(
            f"it has {kind.activation} behind NatureCNN, which has ReLU: allowed: ReLU"
        )
    return _shape(space)


def _shape(space: dict[str, Any]) -> list[int] | None:
    """The shape of observations, where it is told; Gym called it `shape`, Gymnasium `_shape`."""
    shape = space.get("_shape", space.get("shape"))
    told = isinstance(shape, list) and len(shape) < 9 and all(type(n) is int for n in shape)
    return shape if told else None
