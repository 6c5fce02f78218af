"""Agents on disk: NAME.safetensors (weights and centre) and NAME.json (what they are)."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import msgspec
import safetensors.numpy

from rtpd import checkpoint, nets
from rtpd.errors import CheckpointError, RequestError, unknown
from rtpd.files import read_json, sha256, write_atomic, write_json
from rtpd.run import Run
from rtpd.teachers import TEACHERS
from rtpd.types import EnvSpec, Policy, Preprocess, as_they_are, num_parameters, teacher_of

FORMAT = 1


def save(path: Path, policy: Policy) -> None:
    """Write an agent as `path` (.safetensors) and the JSON beside it."""
    path.parent.mkdir(exist_ok=True)  # an agent of several games is kept under the game's name
    data = safetensors.numpy.save(checkpoint.arrays_of((policy.net, policy.preprocess)))
    write_atomic(path, data)
    about = {
        "format": FORMAT,
        "parameters": num_parameters(policy.net),
        "spec": asdict(policy.spec),
        **policy.provenance,
    }
    write_json(path.with_suffix(".json"), about | {"sha256": _digest(data, about)})


def load(path: Path) -> Policy:
    """Read an agent's file back; CheckpointError if it is damaged or of another format."""
    meta: Any = read_json(path.with_suffix(".json"))
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from None
    if not isinstance(meta, dict):
        raise CheckpointError(f"{path}: its .json is no description of an agent")
    if meta.get("format") != FORMAT:
        raise CheckpointError(
            f"{path}: agent format {meta.get('format')}, this rtpd reads {FORMAT}"
        )
    digest = meta.pop("sha256", None)
    if _digest(data, meta) != digest:
        raise CheckpointError(f"{path} or its .json is damaged: the sha256 differs")
    spec = _spec(meta["spec"])
    rule = None
    if str(meta.get("agent")) == teacher_of(str(meta.get("agent"))):
        kind = str(meta.get("teacher"))
        if kind not in TEACHERS:
            raise CheckpointError(f"{path}: {unknown('teacher', kind, TEACHERS)}")
        rule = TEACHERS[kind]
    like = jax.eval_shape(
        lambda: nets.build(
            meta["net"],
            spec,
            meta["num_outputs"],
            key=jr.key(0),
            dueling=meta["dueling"],
            atoms=rule.atoms if rule else 1,
            norm=meta.get("norm", False),
        )
    )
    neutral = Preprocess(jnp.zeros(spec.frame_shape), jnp.ones(()))
    net, preprocess = checkpoint.restore((like, neutral), safetensors.numpy.load(data), path)
    known = ("format", "parameters", "spec")
    about = {key: value for key, value in meta.items() if key not in known}
    return Policy(net, preprocess, spec, about, rule.q_values if rule else as_they_are)


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


def _digest(data: bytes, about: dict[str, Any]) -> str:
    """Of the weights and of what is said of them."""
    return sha256(data + json.dumps(about, sort_keys=True).encode())


def _spec(data: dict[str, Any]) -> EnvSpec:
    return msgspec.convert(data, EnvSpec)
