"""Agents of CleanRL as policies, without PyTorch: its DQN, C51 and PPO, as `torch.save` wrote them.

A `.cleanrl_model` holds a state dict, of C51 beside the program's arguments, which are passed over:
the shapes say what it is.

    image: network.{0,2,4} convolutions, network.7 dense, then network.9 (DQN, C51) or actor (PPO)
    vector: network.{0,2,...} with ReLU (DQN, C51), or actor.{0,2,...} with Tanh (PPO)
    C51: `atoms`, the values of the return, of each of which the last layer has a logit an action

What they do not say is as in CleanRL's programs: frames of 84x84, pixels / 255. `critic` is not
read.
"""

import re
from pathlib import Path

import numpy as np

from rtpd.agents.formats import layers as nets
from rtpd.agents.formats import torch_file
from rtpd.agents.formats.layers import Layer, Parsed, brief
from rtpd.errors import CheckpointError, RequestError
from rtpd.networks.heads import Categorical, Logits, Scalar, ValueHead
from rtpd.storage.files import contents, sha256
from rtpd.system.formatting import clean

_SUFFIXES = (".cleanrl_model", ".pth", ".pt")
_CONVOLUTIONS = ["network.0", "network.2", "network.4"]
_SIDE = 84  # of CleanRL's frames
MOST_ATOMS = 1000


def parsed(path: Path) -> Parsed:
    """The agent of a file.

    Raises:
        RequestError: if there is no such file, or the net is of a kind that is not read.
        CheckpointError: if the file is damaged, or asks for more than tensors.
    """
    data = contents(path)
    if data[:1] not in (b"P", b"\x80"):  # neither a zip nor what PyTorch wrote before 1.6
        raise CheckpointError(f"{path} is no file of torch.save: agents of CleanRL's JAX are none")
    weights = torch_file.state_dict(data, str(path))
    acts = any(name.startswith("actor") for name in weights)
    head = Logits() if acts else _value_head(weights)
    if head.atoms > 1:
        weights = {name: array for name, array in weights.items() if name != "atoms"}
    try:
        layers = _layers(weights, acts)
    except RequestError as error:
        raise RequestError(f"{path}: {error}") from None
    image = layers[0].weight.ndim == 4
    inputs = layers[0].weight.shape[1]
    return Parsed(
        path,
        layers,
        seen=[inputs, _SIDE, _SIDE] if image else [inputs],
        activation="tanh" if acts and not image and len(layers) > 1 else "relu",
        scale=255.0 if image else 1.0,
        head=head,
        steps=None,
        source={
            "file": clean(path.name),
            "sha256": sha256(data),
            "algorithm": "PPO" if acts else "C51" if head.atoms > 1 else "DQN",
            "program": "CleanRL",
        },
    )


def is_agent(path: Path) -> bool:
    """Whether a path is named like an agent of theirs, or another file of `torch.save`."""
    return path.suffix in _SUFFIXES


def _value_head(weights: dict[str, np.ndarray]) -> ValueHead:
    """That of C51 where there are atoms, evenly between -limit and limit."""
    atoms = weights.get("atoms", np.zeros(0))
    if atoms.dtype.kind != "f" or not 1 < atoms.size <= MOST_ATOMS or not 0 < atoms.flat[-1] < 1e6:
        return Scalar()
    head = Categorical(atoms.size, float(atoms.flat[-1]))
    alike = atoms.ndim == 1 and np.allclose(atoms, head.support, atol=1e-5 * head.limit)
    return head if alike else Scalar()


def _layers(weights: dict[str, np.ndarray], acts: bool) -> list[Layer]:
    """The net's layers, input side first; RequestError if it has others than those named above."""
    first = weights.get("network.0.weight")
    convolutions: list[str] = []
    if first is not None and first.ndim == 4:
        convolutions = _CONVOLUTIONS
        dense = ["network.7", "actor" if acts else "network.9"]
    else:
        prefix = "actor." if acts else "network."
        depth = sum(bool(re.fullmatch(rf"{prefix}\d+\.weight", name)) for name in weights)
        dense = [f"{prefix}{2 * i}" for i in range(depth)]
    names = {f"{name}.{part}" for name in (*convolutions, *dense) for part in ("weight", "bias")}
    odd = sorted(names ^ {name for name in weights if not name.startswith("critic.")})
    if odd or not dense:
        raise RequestError(
            f"the net is not built as expected, first: '{brief(odd[0] if odd else 'network.0')}': "
            "allowed: those of CleanRL's dqn, dqn_atari, c51, c51_atari, ppo and ppo_atari"
        )
    return nets.found(weights, convolutions, dense)
