"""What agents can be named by: a run folder, an agent's file, an ONNX file, the zoo, a Hub folder.

| SOURCE                | agents                                                       |
|-----------------------|--------------------------------------------------------------|
| a run folder          | all of the run                                               |
| FILE.safetensors      | one                                                          |
| FILE.onnx             | one, computed by onnxruntime (`export` extra)                |
| zoo:GAME/NAME         | one of those that come with rtpd                             |
| a folder for the Hub  | one, as `rtpd export --to hub` writes it                     |
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec

from rtpd import envs
from rtpd.agents import zoo
from rtpd.agents.formats import onnx_file
from rtpd.agents.store import file_of, load_any, load_policy
from rtpd.envs import EnvOptions
from rtpd.envs.options import modules_of
from rtpd.errors import CheckpointError, ConfigError, EnvError, RunError, unknown
from rtpd.networks.policy import HostPolicy, Policy
from rtpd.storage.run_folder import Run
from rtpd.types import num_parameters


class Agents(NamedTuple):
    """Agents of one source."""

    env: str  # what they play; of several games a+b
    policies: Mapping[str, Policy | HostPolicy]
    about: Mapping[str, Mapping[str, Any]]  # "parameters", and "share" of the teacher's
    options: EnvOptions  # how the game was played when they learnt
    random_scores: Mapping[str, float] = MappingProxyType({})  # by env, as the run measured them
    distilled_from: str | None = None  # the teacher that the run was given


def agents_of(source: str | Path, names: tuple[str, ...] = ()) -> Agents:
    """The agents of a source, all of them if none is named.

    Raises:
        RequestError: if there is no such source, or no such agent in it.
        CheckpointError: if its files are damaged.
    """
    file = file_of(source)
    if file is None:
        return _agents_of_run(Path(source), names)
    policy = onnx_file.load(file) if file.suffix == ".onnx" else load_policy(file)
    name = str(policy.provenance.get("agent", file.stem))
    if set(names) - {name}:
        raise RunError(f"{source}: {unknown('agent', names[0], [name])}")
    if isinstance(policy, Policy):
        parameters = num_parameters(policy.net)
    else:
        parameters = policy.provenance.get("parameters")
    share = None
    if zoo.is_name(source):
        share = parameters / zoo.card(source)["teacher"]["parameters"]
    about = {name: {"parameters": parameters, "share": share}}
    return Agents(policy.spec.name, {name: policy}, about, options_of(policy))


def one_of(source: str | Path, agent: str | None) -> tuple[str, Policy | HostPolicy]:
    """The agent asked for, and its name; RequestError if a run has several and none is asked for.

    Its game's options are `options_of` it.
    """
    if agent is None and file_of(source) is None:
        known = Run.open(Path(source)).agents
        if len(known) != 1:
            raise RunError(
                f"{source}: which agent? --agent {' or '.join(known) or '(it has none)'}"
            )
    found = agents_of(source, () if agent is None else (agent,))
    return next(iter(found.policies.items()))


def options_of(policy: Policy | HostPolicy) -> EnvOptions:
    """How the agent's game was played when it learnt; the defaults where it does not say."""
    return _options(policy.provenance.get("environment"), "an agent")


def check_numbers(episodes: int, epsilon: float, seed: int) -> None:
    """ConfigError if one of the flags that say how agents play is out of range."""
    if not 0 <= epsilon <= 1:
        raise ConfigError(f"--epsilon {epsilon}: allowed: 0 to 1")
    if not 1 <= episodes <= 10_000:
        raise ConfigError(f"--episodes {episodes}: allowed: 1 to 10000")
    if not 0 <= seed < 2**31 - 1:
        raise ConfigError(f"--seed {seed}: allowed: 0 to {2**31 - 2}")


def _options(known: object, where: str) -> EnvOptions:
    try:
        return msgspec.convert(known or {}, EnvOptions)
    except (ValueError, EnvError) as error:  # of the schema, or of half a character
        raise CheckpointError(f"{where}: its 'environment' is damaged: {error}") from None


def _agents_of_run(path: Path, names: tuple[str, ...]) -> Agents:
    folder = Run.open(path)
    folder.check_agents(names)
    config = folder.manifest["config"]  # of any rtpd: settings come and go, agents stay
    options = _options(config.get("environment"), f"{folder.path}/manifest.json")
    env = str(config.get("env"))
    for name in env.split("+") if modules_of(env) else ():
        envs.check(name)  # who plays knows its game, but not the module that has it
    policies = {name: load_any(folder.agent_path(name)) for name in names or folder.agents}
    scores = folder.random_scores
    given = folder.about.distilled_from
    return Agents(env, policies, folder.manifest["agents"], options, scores, given)
