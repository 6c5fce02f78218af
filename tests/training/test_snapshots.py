"""Copies of agents: which weights they are, and that they are copies."""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from rtpd.config.settings import Config, StudentConfig, TeacherConfig
from rtpd.learning.teachers import head_of
from rtpd.learning.update import Learner
from rtpd.training import snapshots
from rtpd.types import EnvSpec

SPECS = {name: EnvSpec(f"probe/{name}", n, (2,), "float32", 1) for name, n in (("a", 2), ("b", 3))}
AVERAGED = Config(
    env="probe/a+probe/b", students=("mlp8:kl",), student=StudentConfig(ema_decay=0.9),
    teacher=TeacherConfig("pqn", net="mlp4", ema_decay=0.9),
)  # fmt: skip


@pytest.mark.parametrize("teacher", ["pqn", "ppo"])
def test_agents_are_the_averaged_weights_with_the_outputs_of_their_game(teacher):
    """Of a policy and a value the policy alone."""
    settings = replace(AVERAGED, teacher=replace(AVERAGED.teacher, algorithm=teacher))
    learner = Learner(settings, SPECS)
    unseen = {game: snapshots.neutral(spec) for game, spec in SPECS.items()}
    state = learner.init(jr.key(0), unseen)
    trained = lambda s: [s.students["mlp8"].net, *(t.train.net for t in s.teachers.values())]  # noqa: E731
    others = jax.tree.map(jnp.zeros_like, trained(state))  # at first both are the same
    state = eqx.tree_at(trained, state, others)
    agents = snapshots.policies(learner, state)
    state = jax.tree.map(jnp.zeros_like, state)  # as donated buffers may be
    fresh = learner.init(jr.key(0), unseen)
    assert list(agents) == ["a/teacher", "a/mlp8", "b/teacher", "b/mlp8"]
    x = jr.normal(jr.key(1), (5, 2))
    shared = fresh.students["mlp8"].ema(x)
    for game, outputs in (("a", shared[:, :2]), ("b", shared[:, 2:])):
        np.testing.assert_allclose(agents[f"{game}/mlp8"].net(x), outputs, rtol=1e-5)
        agent, actions = agents[f"{game}/teacher"], SPECS[game].num_actions
        teacher = fresh.teachers[game].train.ema(x)[:, :actions]
        assert agent.head == head_of(settings.teacher.algorithm)
        assert agent.provenance["num_outputs"] == actions
        np.testing.assert_allclose(agent.net(x), teacher, rtol=1e-5)
