"""Whole episodes of any agents: Policy x env -> EvalResult."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, PRNGKeyArray

from rtpd import actor, envs
from rtpd.config import from_dict
from rtpd.envs.baselines import human_normalised, percent_of_teacher
from rtpd.episodes import Episode, Episodes
from rtpd.errors import ConfigError
from rtpd.policy import load
from rtpd.run import Run
from rtpd.types import EvalResult, Policy, Preprocess, Timestep, teacher_of

MOST_ENVS = 32


class _Seat:
    """One agent at its own vector env; each env plays a fixed number of episodes.

    A fixed number per env, since taking the first episodes to finish would favour short ones.
    """

    def __init__(self, policy: Policy, options: envs.EnvOptions, episodes: int, seed: int) -> None:
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
        """Choose actions for the newest frames; returns before they are computed."""
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


def play(
    policies: dict[str, Policy],
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


def evaluate(
    run: str | Path,
    *,
    agents: tuple[str, ...] = (),
    episodes: int = 30,
    epsilon: float = 0.05,
    seed: int = 1,
) -> dict[str, Any]:
    """Evaluate agents of a run folder (all of them if none is named).

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
    folder = Run.open(Path(run))
    folder.check_agents(agents)
    config = from_dict(folder.manifest["config"], f"{folder.path}/manifest.json")
    names = agents or folder.agents
    policies = {name: load(folder.agent_path(name)) for name in names}
    results = play(policies, config.environment, episodes=episodes, epsilon=epsilon, seed=seed)
    about = folder.manifest["agents"]
    table = {}
    for name, row in compare(results).items():
        table[name] = {key: about[name][key] for key in ("parameters", "share")} | row
    return {
        "run": str(run),
        "env": config.env,
        "epsilon": epsilon,
        "episodes": episodes,
        "seed": seed,
        "agents": table,
    }


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
