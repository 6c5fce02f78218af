"""A policy as an ONNX graph: raw frames in, Q-values and the greedy action out.

The input `frames` is uint8 [N K H W], oldest frame first, or float32 [N F] for vectors (the K
vectors of a stack one after the other); centre and scale are inside the graph. The outputs are
`q_values` float32 [N A] and `action` int64 [N], as `env.step` takes it. N is free.
"""

import json
from pathlib import Path

import numpy as np

from rtpd.agents.formats import onnx_file, onnx_graph
from rtpd.errors import RequestError
from rtpd.export.about import describe
from rtpd.export.onnx_nodes import Graph, float_values, integer_values
from rtpd.export.quantise import Quantised
from rtpd.export.target import ExportTarget
from rtpd.networks.heads import Categorical, Quantile, Scalar
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
            q = float_values(graph, policy)
        else:
            q = integer_values(graph, quantised, spec.stack)
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
