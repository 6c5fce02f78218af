"""Whole episodes of any agents: Policy x env -> EvalResult."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from rtpd import envs
from rtpd.agents import zoo
from rtpd.agents.episodes import Episodes
from rtpd.agents.runner import EpisodeRunner
from rtpd.agents.sources import agents_of, check_numbers
from rtpd.agents.zoo.check import check_card
from rtpd.envs.baselines import has_baseline, human_normalised, percent_of_teacher
from rtpd.networks.policy import HostPolicy, Policy
from rtpd.storage.agent_id import AgentId
from rtpd.storage.manifest import taught_by
from rtpd.system.process import settled
from rtpd.types import EvalResult

RANDOM_EPISODES = 20
RANDOM_STEPS = 2_000  # of each env: an episode that takes longer is not waited for


def play(
    policies: Mapping[str, Policy | HostPolicy],
    options: envs.EnvOptions,
    *,
    episodes: int,
    epsilon: float,
    seed: int,
    stop: Callable[[], bool] = lambda: False,
    told: Callable[[int], None] = lambda played: None,
) -> dict[str, EvalResult]:
    """Let each agent play `episodes` whole episodes of its game, all agents at once.

    Rewards are unclipped. Every agent starts from the same seeds. A lost life never ends an
    episode here. While one agent's emulators step, the next agent's actions are computed.
    KeyboardInterrupt once `stop()` holds, as after Ctrl-C. `told` hears how many episodes of all
    agents have ended: at the start, and whenever one does.
    """
    options = replace(options, episodic_life=False)
    runners: dict[str, EpisodeRunner] = {}
    try:
        for name, policy in policies.items():
            runners[name] = EpisodeRunner(policy, options, episodes, seed)
        active, before = list(runners.values()), 0
        told(before)
        while active:
            if stop():
                raise KeyboardInterrupt
            for runner in active:
                runner.env.send(np.asarray(runner.act(epsilon)))
            for runner in active:
                runner.receive()
            active = [runner for runner in active if not runner.done]
            if (played := sum(runner.num_played for runner in runners.values())) > before:
                told(before := played)
        if stop():
            raise KeyboardInterrupt
    finally:
        for runner in runners.values():
            runner.env.close()
    return {name: runner.result(name, epsilon) for name, runner in runners.items()}


def random_scores(
    games: Collection[str],
    options: envs.EnvOptions,
    *,
    known: Mapping[str, float],
    seed: int,
    stop: Callable[[], bool] = lambda: False,
) -> dict[str, float]:
    """Mean returns of random play, by name: the `known` ones, others measured where need be.

    Games of which the literature knows one, and those of which no episode ends in time, have none.
    """
    found = {game: known[game] for game in games if game in known}
    for game in games:
        if game in found or has_baseline(game):
            continue
        returns = _random_returns(game, replace(options, episodic_life=False), seed, stop)
        if returns:
            found[game] = float(np.mean(returns))
    return found


def _random_returns(
    game: str, options: envs.EnvOptions, seed: int, stop: Callable[[], bool]
) -> list[float]:
    """Returns of the first episode of each of `RANDOM_EPISODES` envs, as far as they end.

    None after `RANDOM_STEPS` steps of every env, or once `stop()` holds.
    """
    rng, totals = np.random.default_rng(seed), dict[int, float]()
    env = envs.make(game, RANDOM_EPISODES, options)
    try:
        env.reset(seed)
        episodes = Episodes(RANDOM_EPISODES)
        for _ in range(RANDOM_STEPS):
            env.send(rng.integers(env.spec.num_actions, size=RANDOM_EPISODES))
            for episode in episodes.add(env.recv()):
                totals.setdefault(episode.env, episode.total)
            if len(totals) == RANDOM_EPISODES or stop():
                break
    finally:
        env.close()
    return list(totals.values())


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
    runner, seen = EpisodeRunner(policy, replace(options, episodic_life=False), num_envs, seed), []
    try:
        for step in range(every * -(-count // num_envs)):
            runner.env.send(np.asarray(runner.act(epsilon)))
            if step % every == 0:
                seen.append(np.asarray(runner.stack))
            runner.receive()
    finally:
        runner.env.close()
    return np.concatenate(seen)[:count]


@settled()
def evaluate(
    run: str | Path,
    *,
    agents: tuple[str, ...] = (),
    episodes: int = 30,
    epsilon: float = 0.05,
    seed: int = 1,
) -> dict[str, Any]:
    """Evaluate agents of a source (see `rtpd.agents.sources`), all of them if none is named.

    Returns JSON-ready {"run", "env", "epsilon", "episodes", "seed", "agents": {name: {"parameters",
    "share" (of the teacher's parameters), "mean", "standard_error", "median", "returns", "cut_off"
    (episodes that the longest allowed has ended), "human_normalised", "percent_of_teacher",
    "percent_interval", and of a student with settings of its own "short" (name) and "settings"}}},
    of a run whose teacher was given "distilled_from" (a file, a run, a function), and for a student
    of the zoo "card" (see `zoo.check`). Errors are RequestErrors.
    """
    check_numbers(episodes, epsilon, seed)
    found = agents_of(run, agents)
    results = play(found.policies, found.options, episodes=episodes, epsilon=epsilon, seed=seed)
    table = {}
    games = {result.env for result in results.values()} if len(results) > 1 else set[str]()
    known = random_scores(games, found.options, known=found.random_scores, seed=seed)
    for name, row in compare(results, known, untaught_of(found.policies)).items():
        about = found.about[name]
        table[name] = {key: about.get(key) for key in ("parameters", "share")} | row
        table[name] |= {key: about[key] for key in ("short", "settings") if key in about}
    result = {
        "run": str(run),
        "env": found.env,
        "epsilon": epsilon,
        "episodes": episodes,
        "seed": seed,
        "agents": table,
        **taught_by(found.distilled_from),
    }
    if zoo.is_name(run):
        (played,) = results.values()
        result["card"] = check_card(zoo.card(run), played)
    return result


def untaught_of(policies: Mapping[str, Policy | HostPolicy]) -> set[str]:
    """The agents that were saved before their first update."""
    return {name for name, policy in policies.items() if policy.provenance.get("updates") == 0}


def compare(
    results: dict[str, EvalResult],
    measured: Mapping[str, float] = MappingProxyType({}),
    untaught: Collection[str] = (),
) -> dict[str, dict[str, Any]]:
    """A JSON-ready row per agent: scores, human-normalised, and how it stands to its teacher.

    `measured`: what random play scores in games of which the literature does not tell. Who is
    `untaught` has no share of a teacher, nor is one.
    """
    rows = {}
    for name, result in results.items():
        env, teacher = result.env, results.get(str(AgentId.parse(name).teacher))
        percent = interval = None
        if teacher is not None and {name, teacher.agent}.isdisjoint(untaught):
            percent = percent_of_teacher(env, result.mean, teacher.mean, measured)
            interval = percent_interval(env, result, teacher, measured)
        rows[name] = {
            "episodes": len(result.returns),
            "mean": result.mean,
            "standard_error": result.standard_error,
            "median": result.median,
            "human_normalised": human_normalised(env, result.mean),
            "percent_of_teacher": percent,
            "percent_interval": interval,
            "returns": list(result.returns),
            "cut_off": result.cut_off,
        }
    return rows


def percent_interval(
    env: str,
    result: EvalResult,
    teacher: EvalResult,
    measured: Mapping[str, float] = MappingProxyType({}),
    *,
    samples: int = 2_000,
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
    draws = [percent_of_teacher(env, a, b, measured) for a, b in zip(*means, strict=True)]
    known = [d for d in draws if d is not None]
    if len(known) < samples:
        return None
    low, high = np.percentile(known, [2.5, 97.5])
    return [float(low), float(high)]
