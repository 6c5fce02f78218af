"""Who drives which envs, and what that leaves as it was."""

from dataclasses import replace

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from rtpd import envs
from rtpd.config.settings import Config, ReplayConfig, TeacherConfig
from rtpd.envs import EnvOptions
from rtpd.errors import ConfigError
from rtpd.learning.student_spec import parse_actors
from rtpd.learning.update import Learner
from rtpd.training.collector import Collector
from rtpd.training.validation import validate
from rtpd.types import Preprocess

MIXED = Config(
    env="probe/swap",
    students=("mlp8:kl", "mlp4:kl"),
    actors="teacher=4,mlp8=3, mlp4=1",
    teacher=TeacherConfig(net="mlp8"),
    replay=ReplayConfig(capacity=800, warmup_steps=200),
)


def test_each_agent_drives_its_own_envs():
    """Nets that always prefer one action each: the envs show who chose.

    What is kept of their answers are the teacher's, in every env: students learn of those states
    too where they learn from stored answers.
    """
    env = envs.make("probe/swap", 8, EnvOptions())
    learner = Learner(MIXED, {"swap": env.spec})
    unseen = Preprocess(jnp.zeros(env.spec.frame_shape), jnp.ones(()))
    state = learner.init(jr.key(0), {"swap": unseen})

    def prefers(model, action):
        bias = 1000.0 * jnp.arange(3) == 1000.0 * action
        where = lambda m: m.net.streams[0][1].bias  # noqa: E731
        return eqx.tree_at(where, model, 1000.0 * bias)

    teacher = eqx.tree_at(
        lambda t: t.train, state.teachers["swap"], prefers(state.teachers["swap"].train, 2)
    )
    students = {name: prefers(model, i) for i, (name, model) in enumerate(state.students.items())}
    lane = Collector(MIXED, env, learner.teachers["swap"], learner.action_slices["swap"])
    lane.restart(0)
    lane.choose(teacher, students, 0, 0.0)
    assert list(state.students) == ["mlp8", "mlp4"]
    assert np.asarray(lane.action).tolist() == [2, 2, 2, 2, 0, 0, 0, 1]
    assert np.argmax(lane.q, axis=1).tolist() == [2] * 8
    lane.send()
    played = lane.receive()  # every episode of this probe has one step
    assert [name for name, _ in played] == ["teacher"] * 4 + ["mlp8"] * 3 + ["mlp4"]
    lane.store()
    assert lane.replay.action[0].tolist() == [2, 2, 2, 2, 0, 0, 0, 1]
    env.close()


@pytest.mark.parametrize(
    ("actors", "expected"),
    [
        ("teacher", {"teacher": slice(0, 8)}),
        ("teacher=8", {"teacher": slice(0, 8)}),
        ("mlp8=2,teacher=6", {"mlp8": slice(0, 2), "teacher": slice(2, 8)}),
    ],
)
def test_actors_are_parsed(actors, expected):
    assert parse_actors(replace(MIXED, actors=actors)) == expected


@pytest.mark.parametrize(
    ("actors", "piece"),
    [
        ("teecher=8", "did you mean 'teacher'"),
        ("teacher=6,net1.7=2", "unknown agent 'net1.7'"),
        ("teacher=6", "6 envs"),
        ("mlp8=8", "the teacher's"),
        ("teacher=4,teacher=4", "each agent once"),
        ("teacher=8,mlp8=0", "'mlp8=0'"),
        ("teacher=x", "'teacher=x'"),
        ("", "unknown agent ''"),
    ],
)
def test_bad_actors_are_refused_in_one_line(actors, piece):
    with pytest.raises(ConfigError) as error:
        validate(replace(MIXED, actors=actors))
    assert piece in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("teacher", ["pqn", "ppo"])
def test_a_rollout_keeps_what_the_teacher_answered_to_what_it_saw(teacher):
    settings = Config(
        env="probe/chain", students=(), teacher=TeacherConfig(teacher, net="mlp8", loss="mse"),
        num_envs=4, replay=ReplayConfig(capacity=40, warmup_steps=8),
    )  # fmt: skip
    env = envs.make("probe/chain", 4, settings.environment)
    learner = Learner(settings, {"chain": env.spec})
    unseen = Preprocess(jnp.zeros(env.spec.frame_shape), jnp.ones(()))
    teacher = learner.init(jr.key(0), {"chain": unseen}).teachers["chain"]
    lane = Collector(settings, env, learner.teachers["chain"], learner.action_slices["chain"])
    lane.restart(0)
    for step, epsilon in enumerate((1.0, 0.5, 0.5)):
        lane.choose(teacher, {}, step, epsilon)
        lane.send()
        lane.receive()
        lane.store()
    env.close()
    assert np.isnan(lane.replay.q[0]).all()  # by chance alone
    for row in (1, 2):
        for i in range(4):
            x = teacher.preprocess(lane.replay.frames[row, i][None, None])
            outputs = teacher.train.net(x)[0, : env.spec.num_actions]
            np.testing.assert_allclose(lane.replay.q[row, i], outputs, rtol=1e-5)


def test_envs_start_anew_from_a_seed_of_the_run_and_of_the_step(monkeypatch):
    env, seeds = envs.make("probe/swap", 8, EnvOptions()), []
    learner, reset = Learner(MIXED, {"swap": env.spec}), env.reset
    monkeypatch.setattr(env, "reset", lambda seed: (seeds.append(seed), reset(seed))[1])
    for run_seed, step in ((0, 0), (0, 8), (1, 0), (0, 0)):
        settings = replace(MIXED, seed=run_seed)
        lane = Collector(settings, env, learner.teachers["swap"], learner.action_slices["swap"])
        lane.restart(step)
    assert seeds[0] == seeds[3] and len(set(seeds)) == 3
