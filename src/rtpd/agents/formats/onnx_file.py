"""Agents that rtpd has exported to ONNX, as policies that play; needs the `export` extra.

onnxruntime sees only what rtpd itself would write: see `onnx_graph`.
"""

from math import prod
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from rtpd.agents.formats import onnx_graph
from rtpd.agents.formats.onnx_graph import MOST_BYTES, refused
from rtpd.errors import CheckpointError, shortened
from rtpd.networks.policy import HostPolicy
from rtpd.storage.archive import why
from rtpd.storage.files import contents, parse_json
from rtpd.types import EnvSpec

KEY = "rtpd"  # of the metadata: all that rtpd says of the agent, as JSON
FORMAT = 1
INPUT = "frames"
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


def load(path: Path, *, threads: int = 1) -> HostPolicy:
    """An exported agent, computed by onnxruntime on the CPU.

    RequestError if there is no such file or no onnxruntime, CheckpointError if the file is no
    agent that rtpd has exported.
    """
    onnx_graph.runtime()
    data = contents(path, MOST_BYTES)
    about = _checked(path, data)
    run, shape = onnx_graph.session(path, data, threads), _input_shape(about.spec)

    def q_values(obs: np.ndarray) -> np.ndarray:
        return run(["q_values"], {INPUT: obs.reshape(len(obs), *shape)})[0]

    return HostPolicy(q_values, about.spec, about.agent)


def _input_shape(spec: EnvSpec) -> tuple[int, ...]:
    """Of one state; the vectors of a stack come one after the other."""
    shape = (spec.stack, *spec.frame_shape)
    return shape if spec.is_image else (prod(shape),)


def _checked(path: Path, data: bytes) -> _About:
    """What a file says of its agent; CheckpointError unless it is what rtpd would have written."""
    model = onnx_graph.parsed(path, data)
    onnx_graph.check(path, model, OPERATIONS, ATTRIBUTES)
    about = _described(path, {entry.key: entry.value for entry in model.metadata_props})
    values, kinds = onnx_graph.shapes(path, model), onnx_graph.library().TensorProto
    kind = kinds.UINT8 if about.spec.is_image else kinds.FLOAT
    given = [(value.name, *values[value.name]) for value in model.graph.input]
    if given != [(INPUT, kind, (1, *_input_shape(about.spec)))]:
        raise refused(path, "its input is not the frames of its game")
    if "q_values" not in values or values["q_values"].shape != (1, about.spec.num_actions):
        raise refused(path, "it does not give a Q-value for each action of its game")
    return about


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
