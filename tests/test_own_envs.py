"""Environments that are not Atari: a few lines each, with the faults that such ones have."""

from dataclasses import replace

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

from rtpd.config import (
    Config,
    EvaluationConfig,
    ExplorationConfig,
    OptimizerConfig,
    ReplayConfig,
    TeacherConfig,
)
from rtpd.training import train

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
