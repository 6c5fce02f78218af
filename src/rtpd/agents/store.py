"""Agents on disk: NAME.safetensors (weights and centre) and NAME.json (what they are)."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import jax.random as jr
import msgspec
import numpy as np
import safetensors.numpy

from rtpd.agents import zoo
from rtpd.agents.formats import normalize, onnx_teacher
from rtpd.agents.formats.host import Reading, of_function
from rtpd.errors import CheckpointError, RequestError, RtpdError, unknown
from rtpd.learning.teachers import POLICY, TEACHERS, head_of
from rtpd.networks import architectures, qnet
from rtpd.networks.heads import Categorical, Scalar, ValueHead
from rtpd.networks.policy import HostPolicy, Policy
from rtpd.storage import checkpoint
from rtpd.storage.agent_id import AgentId
from rtpd.storage.archive import why
from rtpd.storage.files import contents, read_json, sha256, write_atomic, write_json
from rtpd.storage.run_folder import Run
from rtpd.system.process import settled
from rtpd.types import EnvSpec, Preprocess, num_parameters

FORMAT = 1
HUB_WEIGHTS, HUB_CONFIG = "model.safetensors", "config.json"  # as the Hub calls them
_Name = Annotated[str, msgspec.Meta(max_length=200)]


class _Atoms(msgspec.Struct):
    """Of a C51 that other programs trained: its values of the return."""

    atoms: Annotated[int, msgspec.Meta(ge=2, le=1000)]
    limit: Annotated[float, msgspec.Meta(gt=0, le=1e6)]


class _About(msgspec.Struct):
    """What the .json must say; what else it says is kept as provenance."""

    spec: EnvSpec
    net: _Name
    num_outputs: Annotated[int, msgspec.Meta(ge=1, le=2**24)]
    dueling: bool
    norm: bool = False
    activation: _Name = "relu"
    agent: _Name = ""
    teacher: _Name = ""
    atoms: _Atoms | None = None


class _Statistics(msgspec.Struct):
    mean: list[float]
    deviation: list[float]


class _Seen(msgspec.Struct):
    """Of a teacher outside of JAX: how its file is read."""

    scale: Annotated[float, msgspec.Meta(gt=0, le=1e9)] | None = None
    normalize: _Statistics | None = None


class _AboutHost(msgspec.Struct):
    """What the .json of a teacher outside of JAX must say."""

    spec: EnvSpec
    output: Literal["q", "logits", "actions"]
    source: _Seen
    parameters: Annotated[int, msgspec.Meta(ge=0, le=2**53)] = 0

    def reading(self, path: Path) -> Reading:
        """How it answers and sees; CheckpointError if it divides by what is no number."""
        seen, found = self.source, None
        if seen.normalize is not None:
            found = normalize.of(path, seen.normalize.mean, seen.normalize.deviation)
        return Reading(self.output, seen.scale, found)


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
    about = {
        "format": FORMAT,
        "parameters": parameters,
        "spec": asdict(policy.spec),
        **policy.provenance,
    }
    write_json(path.with_suffix(".json"), about | {"sha256": _digest(data, about)})


@settled()
def load(path: Path) -> Policy:
    """Read an agent's file back; CheckpointError if it is damaged or of another format."""
    data, meta = _stored(path)
    about = _described(meta, path, _About)
    spec = about.spec
    head: ValueHead = Scalar()
    if AgentId.parse(about.agent).is_teacher:
        known = (*TEACHERS, POLICY)
        if about.teacher not in known:
            raise CheckpointError(f"{path}: {unknown('teacher', about.teacher, known)}")
        head = head_of(about.teacher)
    if about.atoms is not None and isinstance(head, Categorical):
        head = Categorical(about.atoms.atoms, about.atoms.limit)
    like = _shapes(about, spec, head.atoms, path)
    arrays = _arrays(data, path)
    net, preprocess = checkpoint.restore(like, arrays, path)
    checkpoint.check_finite(arrays, path)
    if not (preprocess.scale > 0).all():
        raise CheckpointError(f"{path}: it divides frames by {float(preprocess.scale)}")
    known = ("format", "parameters", "spec")
    facts = {key: value for key, value in meta.items() if key not in known}
    return Policy(net, preprocess, spec, facts, head)


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
    file = file_of(source)
    if file is not None:
        if file.suffix == ".onnx":
            raise RequestError(f"'{file}' plays, but holds no weights that can be read back")
        if not file.is_file():
            raise RequestError(f"there is no agent file '{file}'")
        return load(file)
    folder = Run.open(Path(source))
    folder.check_agents((agent,))
    path = folder.agent_path(agent)
    if path.suffix == ".onnx":
        raise RequestError(f"'{path}' plays, but holds no weights that can be read back")
    return load(path)


def load_any(path: Path) -> Policy | HostPolicy:
    """As `load`, also of a teacher that is computed outside of JAX and was kept as ONNX."""
    if path.suffix != ".onnx":
        return load(path)
    data, meta = _stored(path)
    about = _described(meta, path, _AboutHost)
    found = onnx_teacher.restored(path, data, about.spec, about.reading(path))
    return replace(found, provenance=_facts(meta))


def function_of(path: Path, function: Callable[[np.ndarray], Any]) -> HostPolicy:
    """A teacher that is a Python function, as the JSON beside `path` describes it."""
    _, meta = _stored(path, is_there=False)
    about = _described(meta, path, _AboutHost)
    return replace(of_function(function, about.spec, about.output), provenance=_facts(meta))


def _stored(path: Path, *, is_there: bool = True) -> tuple[bytes, dict[str, Any]]:
    """The weights in a file and what is said of them, which fit each other."""
    described = (
        path.with_name(HUB_CONFIG) if path.name == HUB_WEIGHTS else path.with_suffix(".json")
    )
    meta: Any = read_json(described)
    try:
        data = contents(path) if is_there else b""
    except RequestError as error:
        raise CheckpointError(f"cannot read {path}: {error}") from None
    if not isinstance(meta, dict):
        raise CheckpointError(f"{path}: its .json is no description of an agent")
    if meta.get("format") != FORMAT:
        raise CheckpointError(
            f"{path}: agent format {meta.get('format')}, this rtpd reads {FORMAT}"
        )
    digest = meta.pop("sha256", None)
    if _digest(data, meta) != digest:
        raise CheckpointError(f"{path} or its .json is damaged: the sha256 differs")
    return data, meta


def _facts(meta: Mapping[str, Any]) -> dict[str, Any]:
    """What else a description says, which is kept as provenance."""
    return {key: value for key, value in meta.items() if key not in ("format", "spec")}


def _digest(data: bytes, about: dict[str, Any]) -> str:
    """Of the weights and of what is said of them."""
    return sha256(data + json.dumps(about, sort_keys=True).encode())


def _described[Kind](meta: dict[str, Any], path: Path, kind: type[Kind]) -> Kind:
    try:
        return msgspec.convert(meta, kind)
    except (ValueError, RecursionError) as error:  # of its schema, or of half a character
        raise CheckpointError(f"{path}: its .json describes no agent: {error}") from None


def _shapes(about: _About, spec: EnvSpec, atoms: int, path: Path) -> tuple[Any, Preprocess]:
    """What must be in the file, as shapes alone: its own word takes no memory."""
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
