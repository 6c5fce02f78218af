"""What an exported file says of its agent, and how that is made harmless."""

from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from rtpd.agents.formats import onnx_file
from rtpd.export.quantise import Quantised
from rtpd.networks.policy import Policy
from rtpd.types import num_parameters


def describe(policy: Policy, quantised: Quantised | None) -> dict[str, Any]:
    """JSON-ready: format, rtpd's version, env, preprocessing, the agent's own description."""
    return {
        "format": onnx_file.FORMAT,
        "rtpd": _version(),
        "spec": asdict(policy.spec),
        "preprocessing": {
            "input": "raw frames, oldest first; the graph does (frames - centre) / scale itself",
            "centre_mean": float(policy.preprocess.centre.mean()),
            "scale": policy.preprocess.scale.tolist(),
        },
        "quantisation": "int8" if quantised else None,
        "agent": {**policy.provenance, "parameters": num_parameters(policy.net)},
    }


def harmless(text: object) -> str:
    """Text that cannot leave its line, end a C comment or be markup; ASCII."""
    kept = (
        c if c.isascii() and c.isprintable() and c not in "*?\\<>|[]`&" else "_" for c in str(text)
    )
    return "".join(kept)


def _version() -> str | None:
    try:
        return version("rtpd")
    except PackageNotFoundError:
        return None
