"""Agents that rtpd has exported to ONNX, as policies that play; needs the `export` extra.

Such a file may come from a stranger, so onnxruntime, which is native code, sees only what rtpd
itself would write: these operations and attributes, weights inside the file, and no value larger
than `MOST_VALUES` numbers per state.
"""

import os
from collections.abc import Iterator
from math import prod
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import msgspec
import numpy as np

from rtpd.errors import CheckpointError, RequestError, shortened
from rtpd.networks.policy import HostPolicy
from rtpd.storage.archive import why
from rtpd.storage.files import contents, parse_json
from rtpd.types import EnvSpec

KEY = "rtpd"  # of the metadata: all that rtpd says of the agent, as JSON
FORMAT = 1
MOST_BYTES = 2**28
MOST_NODES = 1000
MOST_VALUES = 2**22
OPERATIONS = frozenset(
    "Add ArgMax Cast Concat Conv ConvInteger Div Flatten Gemm Identity LayerNormalization MatMul "
    "MatMulInteger Max MaxPool Min Mul ReduceMean Relu Reshape Softmax Sub Transpose".split()
)
ATTRIBUTES = frozenset(
    "auto_pad axes axis epsilon keepdims kernel_shape perm strides to".split()
)  # of numbers and words alone: no graph inside, no padding


class _About(msgspec.Struct):
    """What the metadata must say; the rest of it is kept as provenance."""

    format: Literal[1]
    spec: EnvSpec
    agent: dict[str, Any]


def needs(package: str) -> RequestError:
    """The one line for a package of the extra that is not installed."""
    return RequestError(
        f"an ONNX file needs '{package}' of the 'export' extra: pip install 'rtpd[export]'"
    )


def runtime() -> ModuleType:
    """The module onnxruntime with its telemetry off, which must be said before it is imported."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    try:
        import onnxruntime
    except ImportError:
        raise needs("onnxruntime") from None
    onnxruntime.disable_telemetry_events()
    return onnxruntime


def load(path: Path, *, threads: int = 1) -> HostPolicy:
    """An exported agent, computed by onnxruntime on the CPU.

    RequestError if there is no such file or no onnxruntime, CheckpointError if the file is no
    agent that rtpd has exported.
    """
    ort = runtime()
    data = contents(path, MOST_BYTES)
    about = _checked(path, data)
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = threads
    options.log_severity_level = 4
    try:
        session = ort.InferenceSession(
            data, options, providers=["CPUExecutionProvider"], enable_fallback=False
        )
    except Exception as error:  # onnxruntime's errors have no common base but this
        raise _refused(path, why(error)) from None
    name, shape = session.get_inputs()[0].name, _input_shape(about.spec)

    def q_values(obs: np.ndarray) -> np.ndarray:
        return session.run(["q_values"], {name: obs.reshape(len(obs), *shape)})[0]

    return HostPolicy(q_values, about.spec, about.agent)


def _input_shape(spec: EnvSpec) -> tuple[int, ...]:
    """Of one state; the vectors of a stack come one after the other."""
    shape = (spec.stack, *spec.frame_shape)
    return shape if spec.is_image else (prod(shape),)


def _checked(path: Path, data: bytes) -> _About:
    """What a file says of its agent; CheckpointError unless it is what rtpd would have written."""
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError:
        raise needs("onnx") from None
    try:
        model = onnx.load_model_from_string(data)
        if odd := next(_odd(onnx, model), None):
            raise _refused(path, odd)
        about = _described(path, {entry.key: entry.value for entry in model.metadata_props})
        for value in (*model.graph.input, *model.graph.output):
            for dim in value.type.tensor_type.shape.dim[:1]:
                dim.dim_value = 1  # of one state every size is known
        model = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    except DecodeError:
        raise _refused(path, "it is no protocol buffer of a model") from None
    except CheckpointError:
        raise
    except Exception as error:  # of shape inference, which has several kinds
        raise _refused(path, why(error)) from None
    if odd := next(_misfits(onnx, model.graph, about.spec), None):
        raise _refused(path, odd)
    return about


def _odd(onnx: ModuleType, model: Any) -> Iterator[str]:  # noqa: ANN401
    """What rtpd would not have written, each in a few words."""
    graph, attribute = model.graph, onnx.AttributeProto
    plain = (attribute.INT, attribute.INTS, attribute.FLOAT, attribute.STRING)
    if not model.opset_import or any(opset.domain for opset in model.opset_import):
        yield "it needs operations outside ONNX"
    if model.functions or model.training_info or graph.sparse_initializer or graph.value_info:
        yield "it holds more than a graph and its weights"
    if len(graph.node) > MOST_NODES:
        yield f"it has {len(graph.node):,} nodes: allowed: {MOST_NODES:,}"
    for node in graph.node:
        if node.op_type not in OPERATIONS or node.domain:
            yield f"operation {node.op_type!r} is none that rtpd exports"
        for item in node.attribute:
            if item.name not in ATTRIBUTES or item.type not in plain or item.ref_attr_name:
                yield f"attribute {item.name!r} of {node.op_type} is none that rtpd exports"
    for tensor in graph.initializer:
        external = tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data
        dims, known = list(tensor.dims), tensor.data_type in onnx.helper.get_all_tensor_dtypes()
        if external or not known or tensor.data_type == onnx.TensorProto.STRING:
            yield f"the weights {tensor.name!r} are not numbers inside the file"
            continue
        size = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)).itemsize
        if any(dim < 0 for dim in dims) or prod(dims) * size != len(tensor.raw_data):
            yield f"the weights {tensor.name!r} do not have the size that they claim"
            continue
        array = onnx.numpy_helper.to_array(tensor)
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            yield f"the weights {tensor.name!r} hold what is no finite number"


def _misfits(onnx: ModuleType, graph: Any, spec: EnvSpec) -> Iterator[str]:  # noqa: ANN401
    """Values too large to compute, and what does not fit the agent's description."""
    kind, shape = onnx.TensorProto.UINT8 if spec.is_image else onnx.TensorProto.FLOAT, {}
    for value in (*graph.input, *graph.value_info, *graph.output):
        dims = value.type.tensor_type.shape.dim
        shape[value.name] = tuple(dim.dim_value for dim in dims)  # 0 where it is not known
        if not 0 < prod(shape[value.name]) <= MOST_VALUES:
            yield f"the value {value.name!r} has a shape of {shape[value.name]}"
    for node in graph.node:
        if unknown := [name for name in node.output if name not in shape]:
            yield f"the shape of {unknown[0]!r} is not known beforehand"
    given = [(v.name, v.type.tensor_type.elem_type, shape[v.name]) for v in graph.input]
    if given != [("frames", kind, (1, *_input_shape(spec)))]:
        yield "its input is not the frames of its game"
    if shape.get("q_values") != (1, spec.num_actions):
        yield "it does not give a Q-value for each action of its game"


def _described(path: Path, metadata: dict[str, str]) -> _About:
    """What the file says of its agent."""
    if KEY not in metadata:
        raise CheckpointError(f"'{path}' was not exported by rtpd: it does not say of which agent")
    try:
        return msgspec.convert(parse_json(metadata[KEY].encode()), _About)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(
            f"'{path}': its metadata is damaged or of another rtpd: {shortened(why(error), 200)}"
        ) from None


def _refused(path: Path, reason: str) -> CheckpointError:
    return CheckpointError(f"'{path}' is no ONNX file that runs: {shortened(reason, 200)}")
