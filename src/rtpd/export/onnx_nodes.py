"""A net as nodes of an ONNX graph, from raw frames to Q-values: in float32, or in integers."""

from typing import Any

import numpy as np

from rtpd.export.quantise import Quantised
from rtpd.networks.heads import Categorical
from rtpd.networks.layers import Conv, Dense, Residual
from rtpd.networks.policy import Policy
from rtpd.networks.qnet import QNet


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


def float_values(graph: Graph, policy: Policy) -> str:
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


def integer_values(graph: Graph, model: Quantised, stack: int) -> str:
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
