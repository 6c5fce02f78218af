"""A policy as an ONNX graph: raw frames in, Q-values and the greedy action out.

The input `frames` is uint8 [N K H W], oldest frame first, or float32 [N F] for vectors (the K
vectors of a stack one after the other); centre and scale are inside the graph. The outputs are
`q_values` float32 [N A] and `action` int64 [N], as `env.step` takes it. N is free.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from rtpd.agents.formats import onnx_file, onnx_graph
from rtpd.errors import RequestError
from rtpd.export.about import describe
from rtpd.export.quantise import Quantised
from rtpd.export.target import ExportTarget
from rtpd.networks.heads import Categorical, Quantile, Scalar
from rtpd.networks.layers import Conv, Dense, Residual, Stage
from rtpd.networks.policy import HostPolicy, Policy
from rtpd.networks.qnet import QNet

OPSET = 17  # the first with LayerNormalization; browsers' and old runtimes read it
IR_VERSION = 8  # what came with that opset


class OnnxTarget(ExportTarget):
    """An ONNX file."""

    suffix = ".onnx"

    def check(self, policy: Policy, *, int8: bool) -> None:
        """RequestError in one line if this cannot be written."""
        del int8  # quantise.check tells
        try:
            import onnx  # noqa: F401
        except ImportError:
            raise onnx_graph.needs("onnx") from None
        onnx_graph.runtime()
        if not isinstance(policy.net, QNet):
            raise RequestError(f"ONNX: a net of type {type(policy.net).__name__} is not supported")
        if policy.net.activation != "relu":
            raise RequestError(f"ONNX: a net with {policy.net.activation} is not supported")
        if not isinstance(policy.head, Scalar | Categorical | Quantile):
            raise RequestError(f"ONNX: the head {policy.head!r} is not supported")

    def write(self, policy: Policy, path: Path, quantised: Quantised | None) -> None:
        """Write the policy, or the quantised form of it, as `path`."""
        import onnx

        graph, spec = Graph(), policy.spec
        if quantised is None:
            q = _values(graph, policy)
        else:
            q = _quantised_values(graph, quantised, spec.stack)
        graph.add("Identity", q, output="q_values")
        best = graph.add("ArgMax", "q_values", axis=1, keepdims=0)
        graph.add("Add", best, np.array(spec.first_action, np.int64), output="action")
        if spec.is_image:
            shape, dtype = (spec.stack, *spec.frame_shape), onnx.TensorProto.UINT8
        else:
            shape, dtype = (spec.stack * int(np.prod(spec.frame_shape)),), onnx.TensorProto.FLOAT
        info = onnx.helper.make_tensor_value_info
        made = onnx.helper.make_graph(
            graph.nodes,
            "policy",
            [info("frames", dtype, ["N", *shape])],
            [
                info("q_values", onnx.TensorProto.FLOAT, ["N", spec.num_actions]),
                info("action", onnx.TensorProto.INT64, ["N"]),
            ],
            graph.constants,
        )
        opset = [onnx.helper.make_opsetid("", OPSET)]
        model = onnx.helper.make_model(made, opset_imports=opset, producer_name="rtpd")
        model.ir_version = IR_VERSION
        about = describe(policy, quantised)
        listed = {onnx_file.KEY: about, "env": about["spec"]["name"]}
        listed["action_meanings"] = about["spec"]["action_meanings"]
        listed["preprocessing"] = about["preprocessing"]
        onnx.helper.set_model_props(model, {key: json.dumps(v) for key, v in listed.items()})
        onnx.checker.check_model(model, full_check=True)
        path.write_bytes(model.SerializeToString())

    def load(self, path: Path, policy: Policy, quantised: Quantised | None) -> HostPolicy:
        """What was written, computed by onnxruntime on one thread."""
        del policy, quantised
        return onnx_file.load(path)


class Graph:
    """Nodes and constants, in the order in which they are added."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, value: np.ndarray) -> str:
        """A constant's name."""
        import onnx

        name = f"c{len(self.constants)}"
        contiguous = np.ascontiguousarray(value).reshape(np.shape(value))
        self.constants.append(onnx.numpy_helper.from_array(contiguous, name))
        return name

    def add(self, op: str, *inputs: str | np.ndarray, output: str = "", **attributes: Any) -> str:  # noqa: ANN401
        """Add an operation on named values and arrays; the name of what it gives."""
        import onnx

        names = [i if isinstance(i, str) else self.constant(i) for i in inputs]
        output = output or f"v{len(self.nodes)}"
        self.nodes.append(onnx.helper.make_node(op, names, [output], **attributes))
        return output


def _values(graph: Graph, policy: Policy) -> str:
    """Q-values of the frames, in float32."""
    spec, net = policy.spec, policy.net
    assert isinstance(net, QNet)
    x = "frames"
    sees = policy.preprocess
    constants = [np.asarray(part, np.float32) for part in (sees.centre, sees.scale)]
    if spec.is_image:
        x = graph.add("Cast", x, to=_float())
    else:  # the vectors of a stack come one after the other
        constants = [np.tile(np.broadcast_to(c, spec.frame_shape), spec.stack) for c in constants]
    for op, constant in zip(("Sub", "Div"), constants, strict=True):
        x = graph.add(op, x, constant)
    flat = not spec.is_image
    for layer in net.torso:
        if isinstance(layer, Dense):
            x, flat = _dense(graph, x if flat else _flatten(graph, x), layer), True
        elif isinstance(layer, Conv):
            x = _conv(graph, x, layer)
        else:
            x = _residual(graph, x, layer)
        x = graph.add("Relu", x)
    x = x if flat else _flatten(graph, x)
    outputs = [_dense(graph, graph.add("Relu", _dense(graph, x, d)), o) for d, o in net.streams]
    return _expected(graph, policy, outputs)


def _expected(graph: Graph, policy: Policy, outputs: list[str]) -> str:
    """Q-values of the streams' outputs: dueling streams brought together, atoms to their mean."""
    head, actions = policy.head, policy.spec.num_actions
    atoms = head.atoms
    x, *value = outputs
    if value or atoms > 1:
        x = graph.add("Reshape", x, np.array([-1, actions, atoms]))
    if value:
        mean = graph.add("ReduceMean", x, axes=[1], keepdims=1)
        values = graph.add("Reshape", value[0], np.array([-1, 1, atoms]))
        x = graph.add("Sub", graph.add("Add", x, values), mean)
    if isinstance(head, Categorical):
        support = np.asarray(head.support, np.float32)
        return graph.add("MatMul", graph.add("Softmax", x, axis=-1), support)
    if atoms > 1:
        return graph.add("ReduceMean", x, axes=[2], keepdims=0)
    return graph.add("Reshape", x, np.array([-1, actions])) if value else x


def _conv(graph: Graph, x: str, layer: Conv) -> str:
    weight = np.asarray(layer.weight).transpose(3, 2, 0, 1)
    pad = "SAME_UPPER" if layer.padding == "SAME" else "VALID"
    strides = [layer.stride] * 2
    return graph.add("Conv", x, weight, np.asarray(layer.bias), strides=strides, auto_pad=pad)


def _residual(graph: Graph, x: str, layer: Residual) -> str:
    for stage in layer.stages:
        x = _stage(graph, x, stage)
    return x


def _stage(graph: Graph, x: str, stage: Stage) -> str:
    x = _conv(graph, x, stage.conv)
    x = graph.add("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER")
    for first, second in stage.blocks:
        inner = graph.add("Relu", _conv(graph, graph.add("Relu", x), first))
        x = graph.add("Add", x, _conv(graph, inner, second))
    return x


def _dense(graph: Graph, x: str, layer: Dense) -> str:
    x = graph.add("Gemm", x, np.asarray(layer.weight), np.asarray(layer.bias))
    norm = layer.norm
    if norm is None:
        return x
    scale, shift = np.asarray(norm.weight), np.asarray(norm.bias)
    return graph.add("LayerNormalization", x, scale, shift, axis=-1, epsilon=float(norm.eps))


def _flatten(graph: Graph, x: str) -> str:
    """[N C H W] to [N H*W*C], the order in which our dense layers read a map."""
    return graph.add("Flatten", graph.add("Transpose", x, perm=[0, 2, 3, 1]), axis=1)


def _quantised_values(graph: Graph, model: Quantised, stack: int) -> str:
    """Q-values by integers alone, bit-identical to `Quantised.outputs`; only the last is scaled.

    Weights are kept as uint8 around 128: products of unsigned and signed bytes saturate on CPUs
    with AVX2 and without VNNI, those of two unsigned ones nowhere.
    """
    x, zero, middle = "frames", np.array(0, np.uint8), np.array(128, np.uint8)
    flat = False
    for i, layer in enumerate(model.layers):
        weight = (layer.weight.astype(np.int16) + 128).astype(np.uint8)
        bias = layer.bias
        if layer.is_conv:
            packed = graph.constant(weight.transpose(3, 2, 0, 1))
            strides = [layer.stride] * 2
            zeros = (graph.constant(zero), graph.constant(middle))
            acc = graph.add("ConvInteger", x, packed, *zeros, strides=strides)
            bias = bias.reshape(-1, 1, 1)
            if i == 0:  # the same of the centre, which a runtime computes once
                centre = graph.add(
                    "Concat", *[graph.constant(model.centre[None, None])] * stack, axis=1
                )
                acc = graph.add(
                    "Sub", acc, graph.add("ConvInteger", centre, packed, *zeros, strides=strides)
                )
        else:
            x, flat = (x if flat else _flatten(graph, x)), True
            acc = graph.add("MatMulInteger", x, weight, zero, middle)
        acc = graph.add("Add", acc, bias)
        if layer.multiplier is None:
            values = graph.add("Cast", acc, to=_float())
            return graph.add("Mul", values, np.array(model.unit, np.float32))
        shape = (-1, 1, 1) if layer.is_conv else (-1,)
        x = _requantise(graph, acc, layer.multiplier.reshape(shape), layer.shift.reshape(shape))
    raise AssertionError("the last layer has no multiplier")


def _requantise(graph: Graph, acc: str, multiplier: np.ndarray, shift: np.ndarray) -> str:
    """min((max(acc, 0) * multiplier + half) >> shift, 255) in 64 bits; nothing is negative."""
    import onnx

    positive = graph.add("Max", acc, np.array(0, np.int32))
    wide = graph.add("Cast", positive, to=onnx.TensorProto.INT64)
    half = np.int64(1) << (shift.astype(np.int64) - 1)
    product = graph.add("Add", graph.add("Mul", wide, multiplier.astype(np.int64)), half)
    shifted = graph.add("Div", product, np.int64(1) << shift.astype(np.int64))
    return graph.add(
        "Cast", graph.add("Min", shifted, np.array(255, np.int64)), to=onnx.TensorProto.UINT8
    )


def _float() -> int:
    import onnx

    return onnx.TensorProto.FLOAT
