"""Whole episodes of any agents: Policy x env -> EvalResult."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import msgspec
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, PRNGKeyArray

from rtpd import actor, envs, onnxfile
from rtpd.config import from_dict
from rtpd.envs.baselines import human_normalised, percent_of_teacher
from rtpd.episodes import Episode, Episodes
from rtpd.errors import ConfigError, RunError, unknown
from rtpd.policy import load
from rtpd.run import Run
from rtpd.types import EvalResult, HostPolicy, Policy, Preprocess, Timestep, teacher_of

MOST_ENVS = 32


class _Seat:
    """One agent at its own vector env; each env plays a fixed number of episodes.

    A fixed number per env, since taking the first episodes to finish would favour short ones.
    """

    def __init__(
        self, policy: Policy | HostPolicy, options: envs.EnvOptions, episodes: int, seed: int
    ) -> None:
        num_envs = min(episodes, MOST_ENVS)
        self.policy = policy
        self.env = envs.make(policy.spec.name, num_envs, options)
        self.quota = np.full(num_envs, episodes // num_envs)
        self.quota[: episodes % num_envs] += 1
        self.played: list[list[Episode]] = [[] for _ in range(num_envs)]
        self.episodes = Episodes(num_envs)
        spec = policy.spec
        self.stack = jnp.zeros((num_envs, spec.stack, *spec.frame_shape), spec.frame_dtype)
        self.key = jr.key(seed)
        self.timestep = self.env.reset(seed)
        self.step = 0

    @property
    def done(self) -> bool:
        """Whether every env has played its episodes."""
        return all(len(e) >= quota for e, quota in zip(self.played, self.quota, strict=True))

    def think(self, epsilon: float) -> Array:
        """Choose actions for the newest frames; of JAX's, returns before they are computed."""
        if isinstance(self.policy, HostPolicy):
            self.stack = _push(self.stack, self.timestep.frame, self.timestep.first)
            q = self.policy.q_values(np.asarray(self.stack))
            return _explore(q, self.key, np.int32(self.step), np.float32(epsilon))
        self.stack, action = _act(
            self.policy.net, self.policy.preprocess, self.policy.head, self.stack,
            self.timestep.frame, self.timestep.first, self.key, np.int32(self.step),
            np.float32(epsilon),
        )  # fmt: skip
        return action

    def receive(self) -> None:
        """Take in the step in progress and book the episodes that it ended."""
        self.timestep: Timestep = self.env.recv()
        self.step += 1
        for episode in self.episodes.add(self.timestep):
            if len(self.played[episode.env]) < self.quota[episode.env]:
                self.played[episode.env].append(episode)

    def result(self, name: str, epsilon: float) -> EvalResult:
        """All episodes, env by env."""
        played = [episode for episodes in self.played for episode in episodes]
        totals, steps = tuple(e.total for e in played), tuple(e.steps for e in played)
        return EvalResult(name, self.policy.spec.name, totals, steps, epsilon)


@eqx.filter_jit
def _act(
    net: Callable[[Array], Array], preprocess: Preprocess, head: Callable[[Array], Array],
    stack: Array, frame: ArrayLike, first: ArrayLike, key: PRNGKeyArray, step: ArrayLike,
    epsilon: ArrayLike,
) -> tuple[Array, Array]:  # fmt: skip
    def q_values(obs: Array) -> Array:
        return head(net(preprocess(obs)))

    return actor.act(q_values, stack, frame, first, jr.fold_in(key, step), epsilon)


_push = eqx.filter_jit(actor.push)


@eqx.filter_jit
def _explore(q: ArrayLike, key: PRNGKeyArray, step: ArrayLike, epsilon: ArrayLike) -> Array:
    return actor.epsilon_greedy(jnp.asarray(q), jr.fold_in(key, step), epsilon)


def play(
    policies: Mapping[str, Policy | HostPolicy],
    options: envs.EnvOptions,
    *,
    episodes: int,
    epsilon: float,
    seed: int,
    stop: Callable[[], bool] = lambda: False,
) -> dict[str, EvalResult]:
    """Let each agent play `episodes` whole episodes of its game, all agents at once.

    Rewards are unclipped. Every agent starts from the same seeds. A lost life never ends an
    episode here. While one agent's emulators step, the next agent's actions are computed.
    KeyboardInterrupt once `stop()` holds, as after Ctrl-C.
    """
    options = replace(options, episodic_life=False)
    seats: dict[str, _Seat] = {}
    try:
        for name, policy in policies.items():
            seats[name] = _Seat(policy, options, episodes, seed)
        active = list(seats.values())
        while active:
            if stop():
                raise KeyboardInterrupt
            for seat in active:
                seat.env.send(np.asarray(seat.think(epsilon)))
            for seat in active:
                seat.receive()
            active = [seat for seat in active if not seat.done]
    finally:
        for seat in seats.values():
            seat.env.close()
    return {name: seat.result(name, epsilon) for name, seat in seats.items()}


def stacks(
    policy: Policy,
    options: envs.EnvOptions,
    *,
    count: int,
    epsilon: float,
    seed: int,
    every: int = 4,
) -> np.ndarray:
    """What the agent sees while it plays: `count` raw stacks [N K *F], each `every`-th step.

    From up to 16 games at once, so that the stacks come from all of a game and not its start.
    """
    num_envs = min(16, count)
    seat, seen = _Seat(policy, replace(options, episodic_life=False), num_envs, seed), []
    try:
        for step in range(every * -(-count // num_envs)):
            seat.env.send(np.asarray(seat.think(epsilon)))
            if step % every == 0:
                seen.append(np.asarray(seat.stack))
            seat.receive()
    finally:
        seat.env.close()
    return np.concatenate(seen)[:count]


def evaluate(
    run: str | Path,
    *,
    agents: tuple[str, ...] = (),
    episodes: int = 30,
    epsilon: float = 0.05,
    seed: int = 1,
) -> dict[str, Any]:
    """Evaluate agents of a run folder (all of them if none is named), or of an exported .onnx file.

    Returns JSON-ready {"run", "env", "epsilon", "episodes", "seed", "agents": {name: {"parameters",
    "share" (of the teacher's parameters), "mean", "standard_error", "median", "returns",
    "human_normalised", "percent_of_teacher", "percent_interval"}}}. Errors are RequestErrors.
    """
    if not 0 <= epsilon <= 1:
        raise ConfigError(f"--epsilon {epsilon}: allowed: 0 to 1")
    if not 1 <= episodes <= 10_000:
        raise ConfigError(f"--episodes {episodes}: allowed: 1 to 10000")
    if not 0 <= seed < 2**31:
        raise ConfigError(f"--seed {seed}: allowed: 0 to {2**31 - 1}")
    env, policies, about, options = _agents_of(Path(run), agents)
    results = play(policies, options, episodes=episodes, epsilon=epsilon, seed=seed)
    table = {}
    for name, row in compare(results).items():
        table[name] = {key: about[name][key] for key in ("parameters", "share")} | row
    return {
        "run": str(run),
        "env": env,
        "epsilon": epsilon,
        "episodes": episodes,
        "seed": seed,
        "agents": table,
    }


def _agents_of(
    path: Path, names: tuple[str, ...]
) -> tuple[str, Mapping[str, Policy | HostPolicy], Mapping[str, Any], envs.EnvOptions]:
    """Env, the agents asked for, their parameters and share of their teacher's, how they play."""
    if path.suffix == ".onnx":
        policy = onnxfile.load(path)
        facts = policy.provenance
        name = str(facts.get("agent", path.stem))
        if set(names) - {name}:
            raise RunError(f"{path}: {unknown('agent', names[0], [name])}")
        about = {"parameters": facts.get("parameters"), "share": None}
        return policy.spec.name, {name: policy}, {name: about}, options_of(policy)
    folder = Run.open(path)
    folder.check_agents(names)
    config = from_dict(folder.manifest["config"], f"{folder.path}/manifest.json")
    policies = {name: load(folder.agent_path(name)) for name in names or folder.agents}
    return config.env, policies, folder.manifest["agents"], config.environment


def options_of(policy: Policy | HostPolicy) -> envs.EnvOptions:
    """How the agent's game was played when it learnt; the defaults where it does not say."""
    return msgspec.convert(policy.provenance.get("environment") or {}, envs.EnvOptions)


def compare(results: dict[str, EvalResult]) -> dict[str, dict[str, Any]]:
    """A JSON-ready row per agent: scores, human-normalised, and how it stands to its teacher."""
    rows = {}
    for name, result in results.items():
        env, teacher = result.env, results.get(teacher_of(name))
        percent = interval = None
        if teacher is not None:
            percent = percent_of_teacher(env, result.mean, teacher.mean)
            interval = percent_interval(env, result, teacher)
        rows[name] = {
            "episodes": len(result.returns),
            "mean": result.mean,
            "standard_error": result.standard_error,
            "median": result.median,
            "human_normalised": human_normalised(env, result.mean),
            "percent_of_teacher": percent,
            "percent_interval": interval,
            "returns": list(result.returns),
        }
    return rows


def percent_interval(
    env: str, result: EvalResult, teacher: EvalResult, *, samples: int = 2_000
) -> list[float] | None:
    """95 % percentile bootstrap interval of `percent_of_teacher`, both sides resampled.

    Efron 1979; episodes are resampled independently for the agent and for its teacher.
    The teacher itself has none.
    """
    if result.agent == teacher.agent or len(result.returns) < 2:
        return None
    rng = np.random.default_rng(0)
    means = [
        rng.choice(r.returns, (samples, len(r.returns))).mean(axis=1) for r in (result, teacher)
    ]
    draws = [percent_of_teacher(env, a, b) for a, b in zip(*means, strict=True)]
    known = [d for d in draws if d is not None]
    if len(known) < samples:
        return None
    low, high = np.percentile(known, [2.5, 97.5])
    return [float(low), float(high)]
