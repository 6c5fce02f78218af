"""Students that learn as they will be in int8: the same numbers as in integers, and a gradient."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import rtpd
from rtpd.agents.runner import EpisodeRunner
from rtpd.agents.sources import options_of
from rtpd.config.settings import Config
from rtpd.errors import ConfigError
from rtpd.export import quantise
from rtpd.learning.student_spec import parse_students
from rtpd.networks import architectures, fake_quantization
from rtpd.types import EnvSpec

PONG = EnvSpec("ale/pong", 6, (84, 84))


@pytest.fixture(scope="module")
def played():
    """A student of the zoo, and 48 stacks of its play."""
    policy = rtpd.load_policy("zoo:pong/net0.5")
    whole = jnp.round(policy.preprocess.centre)  # as the integers have it
    policy = eqx.tree_at(lambda p: p.preprocess.centre, policy, whole)
    runner, seen = EpisodeRunner(policy, options_of(policy), 4, 3), []
    for step in range(120):
        runner.env.send(np.asarray(runner.act(0.3)))
        runner.receive()
        if step % 10 == 9:
            seen.append(np.asarray(runner.stack))
    runner.env.close()
    return policy, np.concatenate(seen)


def test_outputs_are_those_of_the_integers(played):
    policy, frames = played
    x = policy.preprocess(jnp.asarray(frames))
    peaks = [jnp.asarray(peak, jnp.float32) for peak in quantise._peaks(policy, frames)]
    rounded = np.asarray(fake_quantization.outputs(policy.net, x, peaks))
    integers = quantise.quantise(policy, frames).q_values(frames)
    exact = np.asarray(policy.net(x))
    error = np.abs(rounded - integers).max()
    # What is left is the rounding of biases and of the scales between layers.
    assert error < 0.2 * np.abs(exact - integers).max()
    assert error < 0.01 * np.abs(exact).max()
    assert not np.array_equal(rounded, exact)


def test_the_gradient_is_that_of_the_net_with_the_rounded_weights(played):
    policy, _ = played
    x = jnp.zeros((2, 84, 84, 4)).at[:, 40, 40, 0].set(1.0)
    found = eqx.filter_grad(lambda net: fake_quantization.outputs(net, x).sum())(policy.net)
    plain = eqx.filter_grad(lambda net: net(x).sum())(policy.net)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(plain), strict=True):
        assert np.isfinite(a).all()
        assert float(jnp.vdot(a, b)) > 0.9 * float(jnp.linalg.norm(a) * jnp.linalg.norm(b))


def test_more_of_a_weight_than_half_a_step_is_needed_to_change_an_output():
    net = architectures.build("conv2k8s8x4", PONG, 3, key=jr.key(0), he=True)
    x = jr.normal(jr.key(1), (4, 84, 84, 4))
    step = jnp.abs(net.torso[0].weight[..., 0]).max() / 127
    before = fake_quantization.outputs(net, x)
    place = (0, 0, 0, 0)
    middle = jnp.round(net.torso[0].weight[place] / step) * step

    def moved(by):
        weight = net.torso[0].weight.at[place].set(middle + by)
        return fake_quantization.outputs(eqx.tree_at(lambda n: n.torso[0].weight, net, weight), x)

    assert np.array_equal(moved(0.3 * step), moved(-0.3 * step))
    assert not np.array_equal(moved(0.7 * step), moved(-0.3 * step))
    assert before.shape == (4, 3)


def test_names_and_texts():
    texts = ("net1.7", "net1.7:kl:int8", "net0.5:mse:int8", "net0.5:kl")
    found = parse_students(Config(students=texts))
    names = ["net1.7", "net1.7-int8", "net0.5-mse-int8", "net0.5-kl"]
    assert [s.name for s in found] == names
    assert parse_students(Config(students=tuple(s.text for s in found))) == found


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (("net1.7:kl:int4",), ("int4", "int8")),
        (("mlp8:kl:int8",), ("convolutions",)),
        (("impala:kl:int8",), ("convolutions",)),
        (("net1.7:kl:int8", "net1.7::int8"), ("listed twice",)),
    ],
)
def test_what_cannot_be_rounded_is_refused_in_one_line(texts, words):
    with pytest.raises(ConfigError) as error:
        parse_students(Config(students=texts))
    assert all(word in str(error.value) for word in words)
