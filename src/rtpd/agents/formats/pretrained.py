"""Agents of other programs as teachers, whatever wrote the file: one reader for each kind."""

from dataclasses import replace
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from rtpd import envs
from rtpd.agents.formats import cleanrl, layers, normalize, onnx_teacher, sb3, vec_normalize
from rtpd.agents.formats.host import Reading
from rtpd.agents.formats.normalize import Normalize
from rtpd.envs import EnvOptions
from rtpd.errors import ConfigError, RequestError
from rtpd.networks.policy import HostPolicy, Policy
from rtpd.storage.files import opened
from rtpd.types import EnvSpec, Preprocess

_HEAD_BYTES = 1024  # the names of a pickle come first
KINDS = "a .zip of Stable-Baselines3, a .cleanrl_model, an .onnx"


def is_agent(path: Path) -> bool:
    """Whether a path looks like an agent of another program, there or not."""
    return path.suffix in (".onnx", ".zip") or cleanrl.is_agent(path) or sb3.is_agent(path)


def check_is_agent(path: Path) -> None:
    """RequestError, which says what it is for, for a file that lies beside agents and is none."""
    if not path.is_file():
        return
    with opened(path) as file:
        head = file.read(_HEAD_BYTES)
    if head[:1] == b"\x80" and b"VecNormalize" in head:
        raise RequestError(
            f"'{path}' holds the statistics of a VecNormalize, and no agent: allowed: the agent's "
            "own file, with this one as --teacher-normalize"
        )
    if path.suffix in (".npz", ".npy"):
        raise RequestError(
            f"'{path}' holds arrays, and no agent that says what they are: allowed: {KINDS}; "
            "mean and var of vectors are for --teacher-normalize"
        )


def load(
    path: str | Path, env: str, options: EnvOptions = EnvOptions(), how: Reading = Reading()
) -> Policy | HostPolicy:
    """The agent of a file, as a teacher for `env` played with `options`.

    One that is computed outside of JAX is asked once, about how episodes begin.

    Raises:
        RequestError: if there is no such file, the agent is of a kind that is not read, or it was
            trained for other observations or actions than `env` has.
        CheckpointError: if the file is damaged, or asks for more than numbers.
    """
    spec, obs = beginning(env, options)
    found = read(path, spec, how)
    if isinstance(found, HostPolicy):
        found.q_values(obs)
    return found


def read(path: str | Path, spec: EnvSpec, how: Reading = Reading()) -> Policy | HostPolicy:
    """As `load`, for an environment that is there already, and without asking the agent."""
    path = Path(path)
    how.check()
    if path.suffix == ".onnx":
        return onnx_teacher.read(path, spec, how)
    if how.output is not None or how.scale is not None:
        raise ConfigError(
            f"{path}: --teacher-output and --teacher-scale are for ONNX files: this one says itself"
        )
    policy = layers.policy((cleanrl if cleanrl.is_agent(path) else sb3).parsed(path), spec)
    if how.normalize is None:
        return policy
    try:
        how.normalize.check(spec)
    except RequestError as error:
        raise RequestError(f"{path}: {error}") from None
    mean, deviation = map(jnp.asarray, how.normalize)
    return replace(policy, preprocess=Preprocess(mean, deviation))


def statistics(path: Path) -> Normalize:
    """What --teacher-normalize names: a .npz, a .json, or a pickle of VecNormalize."""
    return (normalize if path.suffix in (".npz", ".json") else vec_normalize).read(path)


def beginning(env: str, options: EnvOptions) -> tuple[EnvSpec, np.ndarray]:
    """What an environment shows, and two observations [2 K *F] from where episodes begin."""
    made = envs.make(env, 2, options)
    try:
        spec, frame = made.spec, made.reset(0).frame
    finally:
        made.close()
    obs = np.zeros((2, spec.stack, *spec.frame_shape), spec.frame_dtype)
    obs[:, -1] = frame
    return spec, obs
