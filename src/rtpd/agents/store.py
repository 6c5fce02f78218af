"""Agents on disk: policies are written, found by what they are called, and read back."""

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import safetensors.numpy

from rtpd.agents import zoo
from rtpd.agents.agent_files import (
    HUB_CONFIG,
    HUB_WEIGHTS,
    About,
    AboutHost,
    read,
    write_description,
)
from rtpd.agents.formats import onnx_teacher
from rtpd.agents.formats.host import of_function
from rtpd.errors import CheckpointError, RequestError, RtpdError, unknown
from rtpd.learning.teachers import POLICY, TEACHERS, head_of
from rtpd.networks import architectures, qnet
from rtpd.networks.heads import Categorical, Scalar, ValueHead
from rtpd.networks.policy import HostPolicy, Policy
from rtpd.storage import checkpoint
from rtpd.storage.agent_id import AgentId
from rtpd.storage.archive import why
from rtpd.storage.files import contents, write_atomic
from rtpd.storage.run_folder import Run
from rtpd.system.process import settled
from rtpd.types import Preprocess, num_parameters


def save(path: Path, policy: Policy | HostPolicy) -> None:
    """Write an agent as `path` (.safetensors) and the JSON beside it.

    Of one that is computed outside of JAX: its ONNX file under that name, if it is one, and JSON.
    """
    path.parent.mkdir(exist_ok=True)  # an agent of several games is kept under the game's name
    if isinstance(policy, HostPolicy):
        path, data = path.with_suffix(".onnx"), policy.model or b""
        parameters = policy.provenance["parameters"]
    else:
        data = safetensors.numpy.save(checkpoint.arrays_of((policy.net, policy.preprocess)))
        parameters = num_parameters(policy.net)
    is_kept = isinstance(policy, HostPolicy) and path.is_file() and contents(path) == data
    if data and not is_kept:  # a file of another program does not change
        write_atomic(path, data)
    facts = {"parameters": parameters, "spec": asdict(policy.spec), **policy.provenance}
    write_description(path, data, facts)


@settled()
def load(path: Path) -> Policy:
    """Read an agent's file back; CheckpointError if it is damaged or of another format."""
    data, about, facts = read(path, About)
    head = _head(about, path)
    like = _shapes(about, head.atoms, path)
    arrays = _arrays(data, path)
    net, preprocess = checkpoint.restore(like, arrays, path)
    checkpoint.check_finite(arrays, path)
    if not (preprocess.scale > 0).all():
        raise CheckpointError(f"{path}: it divides frames by {float(preprocess.scale)}")
    facts.pop("parameters", None)  # the net has them
    return Policy(net, preprocess, about.spec, facts, head)


def file_of(source: str | Path) -> Path | None:
    """The file of the one agent that a source is; None if it must be a run folder.

    `zoo:GAME/NAME` is a file of this package, and a folder for the Hub is its weights.
    """
    if zoo.is_name(source):
        return zoo.weights(source)
    path = Path(source)
    if (path / HUB_WEIGHTS).is_file() and (path / HUB_CONFIG).is_file():
        return path / HUB_WEIGHTS
    return path if path.suffix in (".safetensors", ".onnx") else None


def load_policy(source: str | Path, agent: str = "teacher") -> Policy:
    """An agent of a run folder, an agent's .safetensors file, `zoo:GAME/NAME`, or a Hub folder.

    `policy(obs)` maps one raw observation (Atari: u8[4 84 84], oldest frame first) to f32[A]. An
    action's index plus `policy.spec.first_action` is what `env.step` takes.
    RequestError if there is no such run or agent, CheckpointError if its files are damaged.
    """
    path = file_of(source)
    if path is None:
        folder = Run.open(Path(source))
        folder.check_agents((agent,))
        path = folder.agent_path(agent)
    if path.suffix == ".onnx":
        raise RequestError(f"'{path}' plays, but holds no weights that can be read back")
    if not path.is_file():
        raise RequestError(f"there is no agent file '{path}'")
    return load(path)


def load_any(path: Path) -> Policy | HostPolicy:
    """As `load`, also of a teacher that is computed outside of JAX and was kept as ONNX."""
    if path.suffix != ".onnx":
        return load(path)
    data, about, facts = read(path, AboutHost)
    found = onnx_teacher.restored(path, data, about.spec, about.reading(path))
    return replace(found, provenance=facts)


def function_of(path: Path, function: Callable[[np.ndarray], Any]) -> HostPolicy:
    """A teacher that is a Python function, as the JSON beside `path` describes it."""
    _, about, facts = read(path, AboutHost, has_weights=False)
    return replace(of_function(function, about.spec, about.output), provenance=facts)


def _head(about: About, path: Path) -> ValueHead:
    """How the outputs of its net become values."""
    head: ValueHead = Scalar()
    if AgentId.parse(about.agent).is_teacher:
        known = (*TEACHERS, POLICY)
        if about.teacher not in known:
            raise CheckpointError(f"{path}: {unknown('teacher', about.teacher, known)}")
        head = head_of(about.teacher)
    if about.atoms is not None and isinstance(head, Categorical):
        head = Categorical(about.atoms.atoms, about.atoms.limit)
    return head


def _shapes(about: About, atoms: int, path: Path) -> tuple[Any, Preprocess]:
    """What must be in the file, as shapes alone: its own word takes no memory."""
    spec = about.spec
    if about.activation not in qnet.ACTIVATIONS:
        said = unknown("activation", about.activation, qnet.ACTIVATIONS)
        raise CheckpointError(f"{path}: {said}")

    def build() -> tuple[qnet.QNet, Preprocess]:
        net = architectures.build(
            about.net,
            spec,
            about.num_outputs,
            key=jr.key(0),
            dueling=about.dueling,
            atoms=atoms,
            norm=about.norm,
        )
        net = replace(net, activation=about.activation)
        return net, Preprocess(jnp.zeros(spec.frame_shape), jnp.ones(spec.scale_shape))

    try:
        return jax.eval_shape(build)
    except RtpdError as error:
        raise CheckpointError(f"{path}: {error}") from None
    except (ValueError, TypeError, OverflowError) as error:  # a net that JAX cannot have
        raise CheckpointError(f"{path}: there is no such net: {why(error)}") from None


def _arrays(data: bytes, path: Path) -> dict[str, np.ndarray]:
    try:
        return safetensors.numpy.load(data)
    except Exception as error:  # its own kind, and KeyError for types that NumPy lacks
        raise CheckpointError(f"{path} is no safetensors file: {why(error)}") from None
