"""Environments that are not Atari: a few lines each, with the faults that such ones have."""

from dataclasses import replace

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

from rtpd import cli
from rtpd.config import (
    Config,
    EvaluationConfig,
    ExplorationConfig,
    OptimizerConfig,
    ReplayConfig,
    TeacherConfig,
    load_config,
)
from rtpd.errors import ConfigError
from rtpd.monitor import Monitor
from rtpd.training import default_preset, train

FAST = Config(
    students=("none",),
    steps=4_000,
    checkpoint_steps=0,
    td=TeacherConfig(
        net="mlp32", n_step=1, target_period_updates=50, clip_rewards=False,
        optimizer=OptimizerConfig(learning_rate=2e-3),
    ),
    replay=ReplayConfig(capacity=4_000, warmup_steps=500, steps_per_update=2),
    explore=ExplorationConfig(decay_steps=2_000),
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

    observation_space, action_space = Box(0, 1, (1,), np.float32), Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action):
        reward = 1.0 if action == 0 else 10.0 * (self.np_random.random() < 0.5)
        return np.zeros(1, np.float32), reward, False, False, {}


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
        replace(tiny, td=replace(FAST.td, clip_rewards=True)), out=tmp_path / "a", monitor=listener
    )
    (warning,) = listener.warnings
    assert "RtpdSizes-v0" in warning and "10" in warning and "--td.no-clip-rewards" in warning
    listener = Listener()
    train(tiny, out=tmp_path / "b", monitor=listener)
    assert not listener.warnings


def test_the_default_outside_atari_learns_from_the_sizes_of_rewards():
    settings = load_config(default_preset(None, "gym/RtpdSizes-v0"))
    assert not settings.td.clip_rewards
    assert load_config(default_preset(None, "pong")).td.clip_rewards


@pytest.mark.parametrize(
    ("args", "preset"),
    [
        (["gym/CartPole-v1"], "gym"),
        (["--quiet", "Gym/CartPole-v1", "--teacher", "pqn"], "gym"),
        (["probe/match+probe/swap"], "gym"),
        (["pong", "--out", "gym/x"], "cpu"),
        (["pong", "--teacher", "dqn"], "double-dqn"),
        (["--config", "FILE"], "gym"),
        (["pong", "--config", "FILE"], "double-dqn"),
    ],
)
def test_the_preset_fits_the_game_wherever_it_is_named(args, preset, tmp_path):
    file = tmp_path / "my.toml"
    file.write_text('env = "gym/CartPole-v1"\nteacher = "dqn"\n')
    found, _ = cli._defaults([str(file) if arg == "FILE" else arg for arg in args])
    assert found == preset


def test_a_run_that_would_end_in_its_warm_up_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"--steps 499 .*--replay.warmup-steps 500"):
        train(replace(FAST, env="gym/RtpdSizes-v0", steps=499), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
