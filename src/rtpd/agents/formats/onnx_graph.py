"""What must hold of an ONNX file before onnxruntime sees it; needs the `export` extra.

Such a file may come from a stranger and onnxruntime is native code, so that it is given graphs of
known operations and attributes alone, with weights inside the file, and no value larger than
`MOST_VALUES` numbers per state.
"""

import os
from collections.abc import Callable, Collection, Iterator
from math import prod
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from rtpd.errors import CheckpointError, RequestError, shortened
from rtpd.storage.archive import why

MOST_BYTES = 2**28
MOST_NODES = 1000
MOST_VALUES = 2**22


class Value(NamedTuple):
    """A value of a graph for one state: its element type, as ONNX numbers them, and its shape."""

    kind: int
    shape: tuple[int, ...]


def needs(package: str) -> RequestError:
    """The one line for a package of the `export` extra that is not installed."""
    return RequestError(f"an ONNX file needs '{package}': pip install onnx onnxruntime")


def library() -> ModuleType:
    """The module onnx."""
    try:
        import onnx
    except ImportError:
        raise needs("onnx") from None
    return onnx


def runtime() -> ModuleType:
    """The module onnxruntime with its telemetry off, which must be said before it is imported."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    try:
        import onnxruntime
    except ImportError:
        raise needs("onnxruntime") from None
    onnxruntime.disable_telemetry_events()
    return onnxruntime


Run = Callable[[list[str], dict[str, np.ndarray]], list[np.ndarray]]
"""From the names of outputs, and inputs by name, to those outputs."""


def session(path: Path, data: bytes, threads: int = 1) -> Run:
    """A model that has been checked, on the CPU; CheckpointError for what the runtime refuses."""
    ort = runtime()
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = threads
    options.log_severity_level = 4
    try:
        made = ort.InferenceSession(
            data, options, providers=["CPUExecutionProvider"], enable_fallback=False
        )
    except Exception as error:  # onnxruntime's errors have no common base but this
        raise refused(path, why(error)) from None

    def run(outputs: list[str], inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        try:
            return made.run(outputs, inputs)
        except Exception as error:
            raise refused(path, why(error)) from None

    return run


def parsed(path: Path, data: bytes) -> Any:  # noqa: ANN401
    """The model in these bytes, of which nothing is known yet."""
    onnx = library()
    if not data:
        raise refused(path, "it is empty")
    from google.protobuf.message import DecodeError

    try:
        return onnx.load_model_from_string(data)
    except DecodeError:
        raise refused(path, "it is no protocol buffer of a model") from None


def check(
    path: Path,
    model: Any,  # noqa: ANN401
    operations: Collection[str],
    attributes: Collection[str],
) -> None:
    """CheckpointError unless it has these operations and attributes alone, and whole weights."""
    try:
        odd = next(_odd(library(), model, operations, attributes), None)
    except Exception as error:  # of NumPy and protobuf, about values that nobody expects
        raise refused(path, why(error)) from None
    if odd:
        raise refused(path, odd)


def shapes(path: Path, model: Any) -> dict[str, Value]:  # noqa: ANN401
    """Every value of a model for one state, whose first dimension is 1.

    CheckpointError if one is too large to compute, or not known beforehand. Changes the model.
    """
    for value in (*model.graph.input, *model.graph.output):
        for dim in value.type.tensor_type.shape.dim[:1]:
            dim.dim_value = 1  # of one state every size is known
    try:
        graph = (
            library().shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
        )
    except Exception as error:  # of shape inference, which has several kinds
        raise refused(path, why(error)) from None
    found = {}
    for value in (*graph.input, *graph.value_info, *graph.output):
        kind = value.type.tensor_type
        shape = tuple(dim.dim_value for dim in kind.shape.dim)  # 0 where it is not known
        if not 0 < prod(shape) <= MOST_VALUES:
            raise refused(path, f"the value {value.name!r} has a shape of {shape}")
        found[value.name] = Value(kind.elem_type, shape)
    for name in (name for node in graph.node for name in node.output):
        if name not in found:
            raise refused(path, f"the shape of {name!r} is not known beforehand")
    return found


def refused(path: Path, reason: str) -> CheckpointError:
    """The one line for a file that the runtime is not given."""
    return CheckpointError(f"'{path}' is no ONNX file that runs: {shortened(reason, 200)}")


def _odd(
    onnx: ModuleType,
    model: Any,  # noqa: ANN401
    operations: Collection[str],
    attributes: Collection[str],
) -> Iterator[str]:
    """What a model may not have, each in a few words."""
    graph, attribute = model.graph, onnx.AttributeProto
    plain = (
        attribute.INT, attribute.INTS, attribute.FLOAT, attribute.FLOATS, attribute.STRING
    )  # fmt: skip
    if not graph.node:
        yield "it holds no graph"
    if not model.opset_import or any(opset.domain for opset in model.opset_import):
        yield "it needs operations outside ONNX"
    if model.functions or model.training_info or graph.sparse_initializer or graph.value_info:
        yield "it holds more than a graph and its weights"
    if len(graph.node) > MOST_NODES:
        yield f"it has {len(graph.node):,} nodes: allowed: {MOST_NODES:,}"
    for node in graph.node:
        if node.op_type not in operations or node.domain:
            yield f"operation {node.op_type!r} is none that rtpd runs"
        for item in node.attribute:
            constant = item.name == "value" and item.type == attribute.TENSOR
            known = item.name in attributes and (constant or item.type in plain)
            if not known or item.ref_attr_name:
                yield f"attribute {item.name!r} of {node.op_type} is none that rtpd runs"
            elif constant:
                yield from _odd_weights(onnx, item.t)
    for tensor in graph.initializer:
        yield from _odd_weights(onnx, tensor)


def _odd_weights(onnx: ModuleType, tensor: Any) -> Iterator[str]:  # noqa: ANN401
    external = tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data
    dims, known = list(tensor.dims), tensor.data_type in onnx.helper.get_all_tensor_dtypes()
    if external or not known or tensor.data_type == onnx.TensorProto.STRING:
        yield f"the weights {tensor.name!r} are not numbers inside the file"
        return
    size = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)).itemsize
    if any(dim < 0 for dim in dims) or prod(dims) * size != _num_bytes(onnx, tensor, size):
        yield f"the weights {tensor.name!r} do not have the size that they claim"
        return
    array = onnx.numpy_helper.to_array(tensor)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        yield f"the weights {tensor.name!r} hold what is no finite number"


def _num_bytes(onnx: ModuleType, tensor: Any, size: int) -> int:  # noqa: ANN401
    """Of what a tensor holds, as bytes or as a list of numbers."""
    lists = {
        onnx.TensorProto.FLOAT: tensor.float_data,
        onnx.TensorProto.DOUBLE: tensor.double_data,
        onnx.TensorProto.INT32: tensor.int32_data,
        onnx.TensorProto.INT64: tensor.int64_data,
    }
    return len(tensor.raw_data) or size * len(lists.get(tensor.data_type, ()))
