"""PPO: tables worked out by hand, what its ratios are to, and probes that it plays itself."""

import math
from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from rtpd import envs
from rtpd.config.settings import (
    Config,
    OptimizerConfig,
    PPOConfig,
    ReplayConfig,
    RolloutConfig,
    TeacherConfig,
)
from rtpd.envs.probe import PROBES, known_q
from rtpd.learning.teachers.on_policy import RolloutSteps
from rtpd.learning.teachers.ppo import PPO, normalised, policy_loss, ppo_loss, value_loss
from rtpd.learning.update import Learner
from rtpd.training.collector import Collector
from rtpd.training.compiled import CompiledLearner

GAMMA = 0.9
GAME = "probe"
NO, REWARD, VALUE = [0, 0, 0, 0], [1, 2, 3], [9, 4, 6, 8]
# (terminal, last, lambda) and the advantages at gamma 0.5. Without an end the TD errors are
# 1 + 2 - 9 = -6, 2 + 3 - 4 = 1, 3 + 4 - 6 = 1.
ADVANTAGES = [
    ((NO[1:], NO, 0.0), [-6, 1, 1]),
    ((NO[1:], NO, 1.0), [-5.25, 1.5, 1]),  # 1, 1 + 1/2, -6 + 1.5 / 2
    ((NO[1:], NO, 0.5), [-5.6875, 1.25, 1]),  # 1, 1 + 1/4, -6 + 1.25 / 4
    (([0, 1, 0], [0, 0, 1, 0], 1.0), [-7, -2, 1]),  # terminal: 2 - 4, -6 - 2/2
    ((NO[1:], [0, 0, 1, 0], 1.0), [-5.5, 1, 1]),  # truncated: its value stays, no sum crosses it
]
# (ratio, advantage) and the loss at clip 0.2; whether the ratio still has a gradient
OBJECTIVE = [
    ((1.1, 2.0), -2.2, True),
    ((1.5, 1.0), -1.2, False),  # likelier already: no more of it
    ((1.5, -1.0), 1.5, True),  # likelier though it is bad: back
    ((0.5, 1.0), -0.5, True),
    ((0.5, -1.0), 0.8, False),
]
# (value, old value, returns, clip) and the loss
VALUES = [
    ((2.0, 1.0, 3.0, 0.5), 1.125),  # moved to 1.5 only: 1.5^2 / 2
    ((2.0, 1.0, 0.0, 0.5), 2.0),  # moved away: 2^2 / 2
    ((1.2, 1.0, 3.0, 0.5), 1.62),  # near enough
    ((2.0, 1.0, 3.0, math.inf), 0.5),
]


@pytest.mark.parametrize(("row", "expected"), ADVANTAGES)
def test_advantages_are_those_worked_out_by_hand(row, expected):
    terminal, last, lam = row
    settings = Config(teacher=TeacherConfig(gamma=0.5), rollout=RolloutConfig(td_lambda=lam))
    reward, value = jnp.array(REWARD, jnp.float32), jnp.array(VALUE, jnp.float32)
    ends = jnp.array(terminal, bool), jnp.array(last, bool)
    found = PPO().returns(reward, *ends, value, settings) - value[:-1]
    assert found.tolist() == pytest.approx(expected)


@pytest.mark.parametrize(("row", "expected", "moves"), OBJECTIVE)
def test_the_clipped_objective_is_the_one_worked_out_by_hand(row, expected, moves):
    ratio, advantage = row
    old = jnp.float32(math.log(0.3))
    loss, slope = jax.value_and_grad(policy_loss)(
        jnp.log(ratio) + old, old, jnp.float32(advantage), 0.2
    )
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    assert float(slope) == pytest.approx(-ratio * advantage if moves else 0, rel=1e-5)


@pytest.mark.parametrize(("row", "expected"), VALUES)
def test_the_clipped_value_loss_is_the_one_worked_out_by_hand(row, expected):
    *numbers, clip = row
    assert float(value_loss(*map(jnp.float32, numbers), clip)) == pytest.approx(expected)


@pytest.mark.parametrize(("clipped", "error"), [(True, 1.62), (False, 0.5)])
def test_the_loss_weighs_policy_value_and_entropy(clipped, error):
    """Of an action of 3/4 that had 1/2; entropy of 1/4 and 3/4: 0.562335 nats."""
    settings = TeacherConfig("ppo", ppo=PPOConfig(0.2, 0.5, 0.1), clip_rewards=clipped)
    numbers = map(jnp.float32, (1, 3, 1, math.log(0.5)))  # weight, returns, value, log_prob
    outputs = jnp.array([0.0, math.log(3), 2.0])
    loss = ppo_loss(outputs, RolloutSteps(jnp.int32(1), *numbers), jnp.float32(1), settings)
    assert float(loss) == pytest.approx(-1.2 + 0.5 * error - 0.0562335, rel=1e-5)


def test_advantages_are_normalised_over_the_steps_that_count():
    found = normalised(jnp.array([1.0, 3.0, 5.0, 99.0]), jnp.array([1.0, 1.0, 1.0, 0.0]))
    assert found[:3].tolist() == pytest.approx([-1.2247449, 0, 1.2247449])
    assert np.isfinite(normalised(jnp.ones(3), jnp.zeros(3))).all()


SETTINGS = Config(
    students=("none",), num_envs=32, compute="float32",
    teacher=TeacherConfig(
        "ppo", net="mlp16-16", gamma=GAMMA, clip_rewards=False,
        optimizer=OptimizerConfig(learning_rate=5e-3, eps=1e-5, max_grad_norm=0.5),
    ),
    replay=ReplayConfig(capacity=32 * 20, warmup_steps=32),
    rollout=RolloutConfig(steps=8, epochs=4, minibatch_size=64, td_lambda=0.95),
)  # fmt: skip


class Player:
    """PPO at a probe that it plays itself, a rollout and all its updates in turns."""

    def __init__(self, probe, settings=SETTINGS):
        self.env = envs.make(f"probe/{probe}", settings.num_envs, settings.environment)
        self.settings = replace(settings, env=f"probe/{probe}")
        self.learner = Learner(self.settings, {GAME: self.env.spec})
        slices = self.learner.action_slices[GAME]
        self.collector = Collector(self.settings, self.env, self.learner.teachers[GAME], slices)
        self.collector.restart(0)
        self.compiled, self.step = CompiledLearner(self.learner, self.replays), 0

    @property
    def replays(self):
        return {GAME: self.collector.replay}

    @property
    def teacher(self):
        return self.compiled.state.teachers[GAME]

    def play(self, steps, epsilon=0.0):
        for _ in range(steps):
            self.collector.choose(self.teacher, {}, self.step, epsilon)
            self.collector.send()
            self.collector.receive()
            self.collector.store()
            self.step += 1

    def learn(self, rollouts):
        for _ in range(rollouts):
            self.play(self.settings.rollout.steps)
            self.compiled.plan(self.replays)
            for made in range(self.learner.schedule.updates_per_rollout):
                self.compiled.update(self.replays, made)


@pytest.mark.parametrize(("probe", "rollouts"), [("match", 12), ("delay", 25), ("endless", 25)])
def test_it_learns_the_better_action_and_what_each_state_is_worth(probe, rollouts):
    player = Player(probe)
    player.play(1)  # a rollout needs the row behind its last
    player.learn(rollouts)
    frames = jnp.asarray(PROBES[probe].frames)[:, None]
    outputs = player.teacher.train.net(player.teacher.preprocess(frames))
    known = known_q(probe, GAMMA)
    assert outputs[:, -1].tolist() == pytest.approx(known.max(axis=1).tolist(), abs=0.15, rel=0.1)
    policy, best = jax.nn.softmax(outputs[:, :-1]), known == known.max(axis=1, keepdims=True)
    assert np.all(np.sum(policy * best, axis=1) > 0.9)


@pytest.fixture(scope="module")
def player():
    """One that has played at random, then by a policy that is far from uniform."""
    found = Player("swap")
    found.play(4, epsilon=1.0)
    bias = lambda state: state.teachers[GAME].train.net.streams[0][1].bias  # noqa: E731
    net = jnp.array([0.0, 2.0, 1.0, 0.5])
    found.compiled.state = eqx.tree_at(bias, found.compiled.state, net)
    found.play(5)
    return found


def test_it_begins_next_to_uniform_and_samples_its_policy(player):
    fresh = Player("swap")
    x = jr.normal(jr.key(0), (64, 2))
    logits = fresh.teacher.train.net(x)[:, :-1]
    assert np.abs(logits).max() < 0.1
    fresh.play(18)
    shares = np.bincount(np.ravel(fresh.collector.replay.action[:18]), minlength=3) / (18 * 32)
    np.testing.assert_allclose(shares, 1 / 3, atol=0.08)


def test_a_rollout_remembers_the_policy_that_chose_and_values_by_the_latest_net(player):
    learning, replay = player.learner.teachers[GAME], player.collector.replay
    plan = jax.jit(learning.plan)
    rollout = plan(player.teacher, replay)
    log_prob, value, returns = (
        np.asarray(a).reshape(8, 32) for a in (rollout.log_prob, rollout.value, rollout.returns)
    )
    np.testing.assert_allclose(log_prob[:4], -math.log(3), rtol=1e-5)  # by chance alone
    rows = rollout.rows[:-1]
    policy = jax.nn.log_softmax(replay.q[rows[4:]])
    chosen = jnp.take_along_axis(policy, replay.action[rows[4:]][..., None], -1)[..., 0]
    np.testing.assert_allclose(log_prob[4:], chosen, rtol=1e-5)
    assert log_prob[4:].std() > 0.5
    outputs = player.teacher.train.net(replay.frames[rollout.rows].reshape(-1, 2))
    expected = outputs[:, -1].reshape(9, 32)
    np.testing.assert_allclose(value, expected[:-1], atol=1e-5)
    answered = plan(player.teacher, replay._replace(q=jnp.nan_to_num(replay.q)))
    np.testing.assert_array_equal(answered.value, rollout.value)  # logits are no values
    one_step = replay.reward[rows] + GAMMA * expected[1:] * (1 - replay.terminal[rows])
    ends = np.asarray(replay.last[rollout.rows[1:]])
    np.testing.assert_allclose(returns[ends], one_step[ends], atol=1e-5)
