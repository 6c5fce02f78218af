"""Agents that rtpd has exported to ONNX, as policies that play; needs the `export` extra."""

import json
import os
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import numpy as np

from rtpd.errors import CheckpointError, RequestError
from rtpd.types import EnvSpec, HostPolicy

KEY = "rtpd"  # of the metadata: all that rtpd says of the agent, as JSON
FORMAT = 1


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
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RequestError(f"cannot read '{path}': {error.strerror}") from None
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = threads
    options.log_severity_level = 3
    try:
        session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no common base but this
        raise CheckpointError(f"'{path}' is no ONNX file that runs: {_first(error)}") from None
    meta = _described(path, session.get_modelmeta().custom_metadata_map)
    spec = msgspec.convert(meta["spec"], EnvSpec)
    name, frame = session.get_inputs()[0].name, spec.frame_shape

    def q_values(obs: np.ndarray) -> np.ndarray:
        shape = (spec.stack, *frame) if spec.is_image else (-1,)
        return session.run(["q_values"], {name: obs.reshape(len(obs), *shape)})[0]

    return HostPolicy(q_values, spec, meta["agent"])


def _described(path: Path, metadata: dict[str, str]) -> dict[str, Any]:
    """What the file says of its agent."""
    if KEY not in metadata:
        raise CheckpointError(f"'{path}' was not exported by rtpd: it does not say of which agent")
    try:
        meta = json.loads(metadata[KEY])
    except ValueError:
        meta = {}
    if not isinstance(meta, dict) or meta.get("format") != FORMAT:
        raise CheckpointError(f"'{path}': its metadata is damaged or of another rtpd")
    return meta


def _first(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
