"""Environments that are not Atari: a few lines each, with the faults that such ones have."""

from dataclasses import replace

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

from rtpd import envs
from rtpd.agents.evaluate import compare, evaluate, random_scores
from rtpd.cli import tables, words
from rtpd.config.loading import load_config
from rtpd.config.settings import (
    Config,
    EvaluationConfig,
    ExplorationConfig,
    OptimizerConfig,
    ReplayConfig,
    TeacherConfig,
)
from rtpd.envs import EnvOptions
from rtpd.errors import RtpdError
from rtpd.storage import files
from rtpd.storage.run_folder import Run
from rtpd.training.logger import RunLogger
from rtpd.training.monitor import Monitor
from rtpd.training.train import default_preset, train
from rtpd.types import EvalResult

FAST = Config(
    students=("none",),
    steps=4_000,
    checkpoint_steps=0,
    teacher=TeacherConfig(
        net="mlp32", n_step=1, target_period_updates=50, clip_rewards=False,
        optimizer=OptimizerConfig(learning_rate=2e-3),
    ),
    replay=ReplayConfig(capacity=4_000, warmup_steps=500, steps_per_update=2),
    exploration=ExplorationConfig(decay_steps=2_000),
    evaluation=EvaluationConfig(period_steps=0, final_episodes=10, epsilon=0.0),
)  # fmt: skip


class Unlike(gymnasium.Env):
    """The second feature says which action is rewarded; the first is large and says nothing."""

    observation_space, action_space = Box(np.float32([0, 0]), np.float32([1e5, 1])), Discrete(2)

    def _see(self):
        self.right = int(self.np_random.integers(2))
        return np.array([self.np_random.uniform(0, 1e5), self.right], np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self._see(), {}

    def step(self, action):
        reward = float(action == self.right)
        return self._see(), reward, False, False, {}


gymnasium.register("RtpdUnlike-v0", Unlike, max_episode_steps=20)


def test_a_small_feature_is_seen_beside_a_large_one(tmp_path):
    summary = train(replace(FAST, env="gym/RtpdUnlike-v0"), out=tmp_path / "run")
    assert summary["agents"]["teacher"]["mean"] > 18


class Sizes(gymnasium.Env):
    """One action gives 1 at once, the other 10 at every second step: 20 steps are 20 or 100."""

    observation_space, action_space = Box(0, 1, (2,), np.float32), Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(2, np.float32), {}

    def step(self, action):
        reward = 1.0 if action == 0 else 10.0 * (self.np_random.random() < 0.5)
        return np.zeros(2, np.float32), reward, False, False, {}


gymnasium.register("RtpdSizes-v0", Sizes, max_episode_steps=20)


class Listener(Monitor):
    """Keeps the warnings."""

    def __init__(self):
        self.warnings = []

    def warn(self, text):
        self.warnings.append(text)


def test_a_reward_that_is_clipped_outside_atari_is_told_once(tmp_path):
    listener = Listener()
    tiny = replace(FAST, env="gym/RtpdSizes-v0", steps=520)
    train(
        replace(tiny, teacher=replace(FAST.teacher, clip_rewards=True)),
        out=tmp_path / "a",
        monitor=listener,
    )
    (warning,) = listener.warnings
    assert "RtpdSizes-v0" in warning and "10" in warning and "--teacher.no-clip-rewards" in warning
    for settings in (tiny, replace(tiny, env="pong", teacher=TeacherConfig())):
        quiet = Listener()
        logger = RunLogger(Run.open(tmp_path / "a"), settings, 1, [], [quiet])
        logger.health.check_rewards(settings.env, np.array([0.5, -20.0]))
        assert not quiet.warnings


def test_the_default_outside_atari_learns_from_the_sizes_of_rewards():
    settings = load_config(default_preset(None, "gym/RtpdSizes-v0"))
    assert not settings.teacher.clip_rewards
    assert load_config(default_preset(None, "pong")).teacher.clip_rewards


@pytest.mark.parametrize(
    ("args", "preset"),
    [
        (["gym/CartPole-v1"], "gym"),
        (["--quiet", "Gym/CartPole-v1", "--teacher", "pqn"], "gym"),
        (["probe/match+probe/swap"], "gym"),
        (["pong", "--out", "gym/x"], "cpu"),
        (["pong", "--teacher", "dqn"], "double-dqn"),
        (["gym/CartPole-v1", "--teacher", "ppo"], "ppo-gym"),
        (["--config", "FILE"], "gym"),
        (["pong", "--config", "FILE"], "double-dqn"),
    ],
)
def test_the_preset_fits_the_game_wherever_it_is_named(args, preset, tmp_path):
    file = tmp_path / "my.toml"
    file.write_text('env = "gym/CartPole-v1"\nteacher.algorithm = "dqn"\n')
    found, _ = words.before_flags([str(file) if arg == "FILE" else arg for arg in args])
    assert found == preset


def test_a_run_that_ends_in_its_warm_up_is_warned_and_gives_no_share(tmp_path):
    listener = Listener()
    settings = replace(FAST, env="gym/CartPole-v1", steps=96, students=("mlp4:kl",))
    summary = train(settings, out=tmp_path / "run", monitor=listener)
    (warning,) = listener.warnings
    assert "--steps 96" in warning and "500" in warning and "nothing will be learnt" in warning
    found = evaluate(tmp_path / "run", episodes=2)
    for rows in (summary["agents"], found["agents"]):
        for name in ("teacher", "mlp4"):
            assert rows[name]["percent_of_teacher"] is rows[name]["percent_interval"] is None


class Faulty(gymnasium.Env):
    """Gives a value that is no number at its 30th step."""

    observation_space, action_space = Box(-1, 1, (2,), np.float64), Discrete(2)

    def __init__(self, reward=0.0, seen=0.0):
        self.bad_reward, self.bad_seen = reward, seen

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return np.zeros(2), {}

    def step(self, action):
        self.steps += 1
        bad = self.steps == 30
        seen = np.array([0.0, self.bad_seen if bad else 0.0])
        return seen, self.bad_reward if bad else 1.0, False, False, {}


FAULTS = {
    "Reward": ({"reward": np.nan}, "reward nan at step 30"),
    "Large": ({"reward": 1e300}, "reward inf at step 30"),
    "Seen": ({"seen": -np.inf}, r"observation -inf \(number 1 of it\) at step 30"),
}
for name, (kwargs, _) in FAULTS.items():
    gymnasium.register(
        f"Rtpd{name}-v0", Faulty, kwargs=kwargs, max_episode_steps=40, disable_env_checker=True
    )


@pytest.mark.parametrize("name", FAULTS)
def test_a_value_that_is_no_number_is_told_with_env_field_and_step(name, tmp_path):
    said = f"gym/Rtpd{name}-v0 gave {FAULTS[name][1]}"
    env = envs.make(f"gym/Rtpd{name}-v0", 2, EnvOptions())
    env.reset(0)
    with pytest.raises(RtpdError, match=said):
        for _ in range(40):
            env.send(np.zeros(2, int))
            env.recv()
    with pytest.raises(RtpdError, match=said):
        train(replace(FAST, env=f"gym/Rtpd{name}-v0"), out=tmp_path / "run")


def test_what_is_printed_and_written_is_json_whatever_the_numbers(tmp_path, capsys):
    odd = {"a": [np.nan, {"b": -np.inf}], "c": (1.5, 2)}
    tables.print_result(odd, print, as_json=True)
    files.write_json(tmp_path / "x.json", files.finite(odd))
    expected = {"a": [None, {"b": None}], "c": [1.5, 2]}
    assert files.parse_json(capsys.readouterr().out.encode()) == expected
    assert files.read_json(tmp_path / "x.json") == expected


def test_random_play_is_measured_where_nobody_knows_it(tmp_path):
    env = "gym/MountainCar-v0"
    summary = train(replace(FAST, env=env, steps=600), out=tmp_path / "run")
    assert Run.open(tmp_path / "run").random_scores == {env: -200.0}
    teacher = summary["agents"]["teacher"]
    assert teacher["percent_of_teacher"] == (100 if teacher["mean"] > -200 else None)
    games = ["gym/CartPole-v1", "ale/pong", env]
    found = random_scores(games, EnvOptions(), known={env: -3.0}, seed=3)
    assert found == {env: -3.0, "gym/CartPole-v1": pytest.approx(22, abs=6)}


def test_a_share_counts_from_random_play_to_the_teacher():
    def played(name, score):
        return EvalResult(name, "gym/Acrobot-v1", (score, score), (9, 9), 0.05)

    results = {"teacher": played("teacher", -80.0), "mlp8": played("mlp8", -290.0)}
    measured = {"gym/Acrobot-v1": -500.0}
    row = compare(results, measured)["mlp8"]
    assert row["percent_of_teacher"] == pytest.approx(50)
    assert row["percent_interval"] == pytest.approx([50, 50])
    for untaught in ("teacher", "mlp8"):
        row = compare(results, measured, {untaught})["mlp8"]
        assert row["percent_of_teacher"] is row["percent_interval"] is None
