"""Agents that any program has exported to ONNX, as teachers; needs the `export` extra.

One input of observations, one output of answers (`host`). The shape of the input says what it sees:

| input, N states        | what it is given                                     |
|------------------------|------------------------------------------------------|
| [N K H W], [N H W K]   | the stack, oldest frame first                        |
| [N 1 H W], [N H W 1], [N H W] | the newest frame                              |
| [N D], [N K D]         | the numbers of a vector                              |

uint8 pixels are 0 to 255; float pixels are divided by `--teacher-scale`, since no shape says by
what. N may be fixed at 1: states are then asked one by one.
"""

from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rtpd.agents.formats import host, onnx_graph
from rtpd.agents.formats.host import Reading
from rtpd.agents.formats.onnx_file import ATTRIBUTES, OPERATIONS
from rtpd.agents.formats.onnx_graph import MOST_BYTES, Value
from rtpd.errors import ConfigError, RequestError
from rtpd.networks.policy import HostPolicy
from rtpd.storage.files import contents, sha256
from rtpd.storage.manifest import ONNX
from rtpd.system.formatting import clean
from rtpd.types import EnvSpec

_OPERATIONS = OPERATIONS | frozenset(
    "Abs AveragePool BatchNormalization Clip Constant Elu Erf Exp Expand Gather Gelu "
    "GlobalAveragePool HardSigmoid HardSwish LeakyRelu Log LogSoftmax Mish Neg Pad Pow PRelu "
    "Reciprocal ReduceMax ReduceSum Selu Shape Sigmoid Slice Softplus Split Sqrt Squeeze Sum Tanh "
    "Unsqueeze Where".split()
)
_ATTRIBUTES = ATTRIBUTES | frozenset(
    "allowzero alpha approximate beta ceil_mode count_include_pad dilations end gamma group mode "
    "momentum noop_with_empty_axes num_outputs pads saturate select_last_index split start "
    "stash_type storage_order transA transB value value_float value_floats value_int "
    "value_ints".split()
)
_NAMES = {  # of outputs, as they are called elsewhere
    "q": "q", "qvalue": "q", "qvalues": "q",
    "logits": "logits", "actionlogits": "logits", "policylogits": "logits",
    "action": "actions", "actions": "actions",
}  # fmt: skip
_KINDS = {1: np.float32, 2: np.uint8, 10: np.float16, 11: np.float64}  # of inputs, as ONNX numbers


class Output(NamedTuple):
    """An output that may be its answers."""

    name: str
    kind: str | None  # one of `host.HEADS`, None if nothing says
    num_actions: int | None  # None of actions themselves
    is_named: bool


class Model(NamedTuple):
    """A file whose graph may be run: its own bytes without what is not needed, and its ends."""

    path: Path
    data: bytes
    digest: str  # of the file
    input: tuple[str, Value]
    is_free: bool  # whether N is free, or 1
    outputs: dict[str, Value]
    num_nodes: int
    parameters: int
    program: str

    @property
    def reads_bytes(self) -> bool:
        """Whether its input is uint8, as raw pixels are."""
        return _KINDS[self.input[1].kind] is np.uint8


def parsed(path: Path) -> Model:
    """The model in a file.

    Raises:
        RequestError: if there is no such file or no onnxruntime, or its input is of a kind that is
            not read.
        CheckpointError: if the file is damaged, or is no graph that may be run.
    """
    onnx_graph.runtime()
    data = contents(path, MOST_BYTES)
    return _parsed(path, data)


def _parsed(path: Path, data: bytes) -> Model:
    model = onnx_graph.parsed(path, data)
    graph, weights = model.graph, {tensor.name for tensor in model.graph.initializer}
    del graph.value_info[:]  # what exporters note beside a graph
    inputs = [value for value in graph.input if value.name not in weights]
    del graph.input[:]
    graph.input.extend(inputs)
    used = [opset for opset in model.opset_import if opset.domain in ("", "ai.onnx")]
    del model.opset_import[:]  # of functions that are not there any more
    model.opset_import.extend(used)
    onnx_graph.check(path, model, _OPERATIONS, _ATTRIBUTES)
    if len(inputs) != 1:
        raise RequestError(f"{path}: it has {len(inputs)} inputs: allowed: 1, the observations")
    batch = next(iter(inputs[0].type.tensor_type.shape.dim), None)
    fixed = 0 if batch is None else batch.dim_value
    if fixed > 1:
        raise RequestError(f"{path}: it reads batches of {fixed}: allowed: 1, or any number")
    kept = model.SerializeToString()  # before the shapes are set
    values = onnx_graph.shapes(path, model)
    name, given = inputs[0].name, values[inputs[0].name]
    if given.kind not in _KINDS or len(given.shape) < 2:
        raise RequestError(
            f"{path}: its input {clean(name)!r} is of another kind: allowed: uint8 or float "
            "images [N K H W] or [N H W K], float vectors [N D]"
        )
    return Model(
        path, kept, sha256(data), (name, given), fixed == 0,
        {value.name: values[value.name] for value in graph.output},
        len(graph.node),
        sum(prod(t.dims) for t in graph.initializer if t.data_type in (1, 10, 11)),
        clean(f"{model.producer_name} {model.producer_version}"[:80]).strip(),
    )  # fmt: skip


def read(path: Path, spec: EnvSpec, how: Reading) -> HostPolicy:
    """The agent of a file as a teacher for `spec`; `how` says what the file leaves open.

    Raises:
        RequestError: also if it was made for other observations or actions than `spec` has, or
            something must be said that the file does not say.
    """
    return _policy(parsed(path), spec, how)


def restored(path: Path, data: bytes, spec: EnvSpec, how: Reading) -> HostPolicy:
    """The same of the bytes that a run has kept."""
    return _policy(_parsed(path, data), spec, how)


def _policy(model: Model, spec: EnvSpec, how: Reading) -> HostPolicy:
    try:
        see = _view(model, spec, how)
        chosen = _output(model, spec, how.output)
        if how.normalize is not None:
            how.normalize.check(spec)
    except RequestError as error:
        raise RequestError(f"{model.path}: {error}") from None
    moved = how.normalize
    name, output = chosen.name, str(chosen.kind)
    run, given = onnx_graph.session(model.path, model.data), model.input[0]
    kind = _KINDS[model.input[1].kind]

    def answers(obs: np.ndarray) -> np.ndarray:
        seen = see(obs if moved is None else moved(obs)).astype(kind, copy=False)
        batches = [seen] if model.is_free else [seen[i : i + 1] for i in range(len(seen))]
        return np.concatenate([run([name], {given: np.ascontiguousarray(b)})[0] for b in batches])

    source = {
        "file": clean(model.path.name),
        "sha256": model.digest,
        "program": model.program,
        "scale": how.scale,
        "normalize": None if moved is None else moved.as_json(),
    }
    facts = host.facts_of(ONNX, output, source, model.parameters)
    return host.policy(answers, spec, output, f"'{model.path}'", facts, model.data)


def _view(model: Model, spec: EnvSpec, how: Reading) -> Callable[[np.ndarray], np.ndarray]:
    """From observations as `host` has them to the model's input; RequestError if there is none."""
    shape = model.input[1].shape[1:]
    views = _views(spec)
    if shape not in views:
        allowed = ", ".join(str(list(shape)) for shape in views)
        raise RequestError(f"it reads {list(shape)}, {spec.name} shows {list(host.shown(spec))}"
                           f": allowed: {allowed}")  # fmt: skip
    raw = model.reads_bytes
    if raw and not spec.is_image:
        raise RequestError(f"it reads uint8, {spec.name} shows float32")
    if spec.is_image and not raw and how.scale is None:
        raise ConfigError(
            "it reads pixels as floats and does not say of which size: --teacher-scale 255 "
            "if it sees 0 to 1, --teacher-scale 1 if 0 to 255"
        )
    if how.scale is not None and (raw or not spec.is_image):
        raise ConfigError(f"--teacher-scale {how.scale:g} is for images of floats alone")
    turned, scale = views[shape], np.float32(how.scale or 1)
    return turned if raw or scale == 1 else lambda obs: turned(obs) / scale


def _views(spec: EnvSpec) -> dict[tuple[int, ...], Callable[[np.ndarray], np.ndarray]]:
    """By shapes of inputs that show a state of `spec`: how a batch [N K *F] becomes one."""
    stack, size = spec.stack, spec.frame_shape
    if not spec.is_image:
        shapes = ((stack * size[0],), (stack, *size))
        return {shape: lambda obs, shape=shape: obs.reshape(len(obs), *shape) for shape in shapes}
    return {
        size: lambda obs: obs[:, -1],
        (*size, 1): lambda obs: obs[:, -1, :, :, None],
        (1, *size): lambda obs: obs[:, -1:],
        (*size, stack): lambda obs: np.moveaxis(obs, 1, -1),
        (stack, *size): lambda obs: obs,
    }


def outputs(model: Model, asked: str | None = None) -> list[Output]:
    """The outputs that may be its answers, the likeliest first.

    A name tells what they are (`q_values`, `logits`, `action`), or the type and shape: whole
    numbers [N] are actions. Values come before actions, and what is called so before other outputs.
    """
    found = []
    for name, (kind, shape) in model.outputs.items():
        said = _NAMES.get("".join(c for c in name.lower() if c.isalnum()))
        if kind in (6, 7) and shape in ((1,), (1, 1)):
            found.append(Output(name, "actions", None, said == "actions"))
        elif kind in (1, 10, 11) and len(shape) == 2 and said != "actions" and asked != "actions":
            found.append(Output(name, asked or said, shape[1], said is not None))
    found = [one for one in found if asked in (None, one.kind)]
    return sorted(found, key=lambda one: (one.kind == "actions", not one.is_named))


def _output(model: Model, spec: EnvSpec, asked: str | None) -> Output:
    """Which output holds its answers; RequestError if nothing says so, or it does not fit."""
    found = [one for one in outputs(model, asked) if one.num_actions in (None, spec.num_actions)]
    if not found:
        has = ", ".join(f"{clean(n)} {list(v.shape)}" for n, v in model.outputs.items())
        raise RequestError(
            f"for one state its outputs are {has}: allowed: {asked or 'values or actions'}, "
            f"{spec.name} has {spec.num_actions} actions"
        )
    first = found[0]
    alike = [one.name for one in found if one[1:] == first[1:]]
    if len(alike) > 1:
        raise RequestError(f"which output is meant, {clean(' or '.join(alike))}: allowed: one")
    if first.kind is None:
        raise ConfigError(
            f"it does not say what its output {clean(first.name)!r} is: "
            "--teacher-output q or logits"
        )
    return first
