"""Whole episodes: how many, whose, unclipped; and what a score is compared with."""

import json

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from ale_py.vector_env import AtariVectorEnv

from rtpd import envs
from rtpd.agents import runner as runners
from rtpd.agents.evaluate import compare, percent_interval, play
from rtpd.envs import EnvOptions
from rtpd.envs.baselines import baselines, percent_of_teacher
from rtpd.networks import architectures
from rtpd.networks.policy import Policy
from rtpd.types import EnvSpec, EvalResult, Preprocess

PONG = EnvSpec("ale/pong", 6, (84, 84))


def policy(spec=PONG, net="net0.1"):
    made = architectures.build(net, spec, spec.num_actions, key=jr.key(0))
    preprocess = Preprocess(jnp.zeros(spec.frame_shape), jnp.float32(100))
    return Policy(made, preprocess, spec, {})


@pytest.mark.parametrize("episodes", [1, 3, 40])
def test_every_agent_plays_exactly_the_episodes_asked_for(episodes):
    spec = EnvSpec("probe/endless", 2, (1,), "float32", stack=1)
    results = play(
        {"a": policy(spec, "mlp4"), "b": policy(spec, "mlp8")}, EnvOptions(),
        episodes=episodes, epsilon=0.5, seed=3,
    )  # fmt: skip
    for name in ("a", "b"):
        assert results[name].returns == (10.0,) * episodes
        assert results[name].lengths == (10,) * episodes


def test_envs_share_the_episodes_evenly_so_that_short_ones_are_not_favoured(monkeypatch):
    monkeypatch.setattr(runners, "MOST_ENVS", 4)
    spec = EnvSpec("probe/endless", 2, (1,), "float32", stack=1)
    runner = runners.EpisodeRunner(policy(spec, "mlp4"), EnvOptions(), 10, 0)
    assert runner.quota.tolist() == [3, 3, 2, 2]


def test_random_play_of_pong_scores_as_the_literature_says():
    options = EnvOptions(episodic_life=True)  # switched off by play
    result = play({"a": policy()}, options, episodes=8, epsilon=1.0, seed=0)["a"]
    assert result.mean == pytest.approx(baselines()["pong"].random, abs=0.8)
    assert all(-21 <= r <= -18 for r in result.returns)


def test_an_episode_is_cut_off_by_the_time_limit_whatever_lives_are_lost_then(monkeypatch):
    recv = AtariVectorEnv.recv

    def scripted(self):
        *answer, cut, info = recv(self)
        return *answer, cut, info | {"lives": np.where(cut, 2, 3)}

    monkeypatch.setattr(AtariVectorEnv, "recv", scripted)
    options = EnvOptions(max_episode_frames=12, episodic_life=True)  # switched off by play
    result = play({"a": policy()}, options, episodes=2, epsilon=1.0, seed=0)["a"]
    assert result.cut_off == 2


def test_the_same_seed_gives_the_same_episodes():
    def returns(seed):
        options = EnvOptions(max_episode_frames=2000)
        return play({"a": policy()}, options, episodes=2, epsilon=0.3, seed=seed)["a"]

    first = returns(1)
    assert first == returns(1)
    assert first.lengths == (500, 500)


def test_a_seed_decides_where_games_start_and_what_is_explored():
    spec = envs.make("probe/match", 1, EnvOptions()).spec

    def begun(seed):
        runner = runners.EpisodeRunner(policy(spec, "mlp4"), EnvOptions(), 32, seed)
        return runner.timestep.frame.tolist(), np.asarray(runner.act(1.0)).tolist()

    (frames, actions), (other_frames, other_actions) = begun(1), begun(2)
    assert begun(1) == (frames, actions)
    assert frames != other_frames
    assert actions != other_actions


@pytest.mark.parametrize(
    ("env", "score", "teacher", "expected"),
    [
        ("ale/pong", 20.7, 20.7, 100.0),
        ("ale/pong", -20.7, 10.0, 0.0),
        ("ale/pong", 0.0, 20.7, 50.0),  # half way from random to the teacher
        ("ale/pong", 0.0, -21.0, None),  # a teacher below chance
        ("gym/CartPole-v1", 250.0, 500.0, 50.0),  # no random score: plain ratio
        ("gym/MountainCar-v0", -150.0, -100.0, None),
    ],
)
def test_percent_of_teacher(env, score, teacher, expected):
    assert percent_of_teacher(env, score, teacher) == (
        None if expected is None else pytest.approx(expected)
    )


@pytest.mark.parametrize(("spread", "spread_of_teacher"), [(10, 10), (5, 40)])
def test_the_interval_covers_the_truth_as_often_as_it_says(spread, spread_of_teacher):
    rng, covered = np.random.default_rng(0), 0
    for _ in range(60):
        agent = EvalResult("a", "ale/pong", tuple(rng.normal(50, spread, 30)), (), 0.0)
        returns = tuple(rng.normal(100, spread_of_teacher, 30))
        teacher = EvalResult("teacher", "ale/pong", returns, (), 0.0)
        low, high = percent_interval("gym/x", agent, teacher, samples=300)
        covered += low <= 50 <= high
    assert 0.85 <= covered / 60 <= 1.0


def test_compare_reports_json_and_the_human_scale():
    results = {
        "teacher": EvalResult("teacher", "ale/pong", (14.6, 14.6), (9, 9), 0.05),
        "net4": EvalResult("net4", "ale/pong", (-20.7, 14.6), (9, 9), 0.05),
    }
    rows = json.loads(json.dumps(compare(results)))
    assert rows["teacher"]["human_normalised"] == pytest.approx(1.0)
    assert rows["net4"]["percent_of_teacher"] == pytest.approx(50.0)
    assert rows["net4"]["median"] == pytest.approx(-3.05)
    assert rows["net4"]["standard_error"] == pytest.approx(np.std([-20.7, 14.6], ddof=1) / 2**0.5)
    assert rows["teacher"]["percent_interval"] is None
    low, high = rows["net4"]["percent_interval"]
    assert low <= 50 <= high
    assert jax.default_backend() == "cpu"
