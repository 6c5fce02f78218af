"""Agents on disk: NAME.safetensors (weights and centre) and NAME.json (what they are)."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import msgspec
import safetensors.numpy

from rtpd import checkpoint, nets
from rtpd.errors import CheckpointError, RequestError
from rtpd.files import read_json, sha256, write_atomic, write_json
from rtpd.run import Run
from rtpd.types import EnvSpec, Policy, Preprocess, num_parameters

FORMAT = 1


def save(path: Path, policy: Policy) -> None:
    """Write an agent as `path` (.safetensors) and the JSON beside it."""
    data = safetensors.numpy.save(checkpoint.arrays_of((policy.net, policy.preprocess)))
    write_atomic(path, data)
    write_json(
        path.with_suffix(".json"),
        {
            "format": FORMAT,
            "parameters": num_parameters(policy.net),
            "spec": asdict(policy.spec),
            "sha256": sha256(data),
            **policy.provenance,
        },
    )


def load(path: Path) -> Policy:
    """Read an agent's file back; CheckpointError if it is damaged or of another format."""
    meta: dict[str, Any] = read_json(path.with_suffix(".json"))
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from None
    if meta.get("format") != FORMAT:
        raise CheckpointError(
            f"{path}: agent format {meta.get('format')}, this rtpd reads {FORMAT}"
        )
    if sha256(data) != meta["sha256"]:
        raise CheckpointError(f"{path} is damaged: its sha256 is not the one in its .json")
    spec = _spec(meta["spec"])
    like = jax.eval_shape(
        lambda: nets.build(
            meta["net"], spec, meta["num_outputs"], key=jr.key(0), dueling=meta["dueling"]
        )
    )
    neutral = Preprocess(jnp.zeros(spec.frame_shape), jnp.ones(()))
    net, preprocess = checkpoint.restore((like, neutral), safetensors.numpy.load(data), path)
    known = ("format", "parameters", "spec", "sha256")
    return Policy(net, preprocess, spec, {k: v for k, v in meta.items() if k not in known})


def load_policy(run: str | Path, agent: str = "teacher") -> Policy:
    """An agent of a run folder, or an agent's .safetensors file.

    `policy(obs)` maps one raw observation (Atari: u8[4 84 84], oldest frame first) to f32[A].
    RequestError if there is no such run or agent, CheckpointError if its files are damaged.
    """
    path = Path(run)
    if path.suffix == ".safetensors":
        if not path.is_file():
            raise RequestError(f"there is no agent file '{path}'")
        return load(path)
    folder = Run.open(path)
    folder.check_agents((agent,))
    return load(folder.agent_path(agent))


def _spec(data: dict[str, Any]) -> EnvSpec:
    return msgspec.convert(data, EnvSpec)
