"""Networks: parameter counts, what a text may say, and the same numbers by another road."""

import math
import re
from functools import cache

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from rtpd.errors import ConfigError
from rtpd.networks import architectures, cost, family, layers, qnet
from rtpd.networks.architectures import NETS, ConvShape, MlpShape
from rtpd.types import EnvSpec, num_parameters

IMAGE = EnvSpec("ale/pong", 6, (84, 84))
VECTOR = EnvSpec("gym/CartPole-v1", 2, (4,), "float32", stack=1, frames_per_step=1)
TEXTS = [*NETS, "conv8-8-8x64", "conv8-8-8x32-16", "mlp32-16", "mlp8", "mlp16-16-16"]


def spec_for(text):
    return VECTOR if isinstance(architectures.parse(text), MlpShape) else IMAGE


def draw(text, num_outputs=6, seed=0, **options):
    return architectures.build(text, spec_for(text), num_outputs, key=jr.key(seed), **options)


build = cache(draw)


def count(text, num_outputs):
    return num_parameters(eqx.filter_eval_shape(draw, text, num_outputs))


def example(text, seed=9):
    """A minibatch of two."""
    shape = (2, 84, 84, 4) if spec_for(text) is IMAGE else (2, 4)
    return jr.normal(jr.key(seed), shape)


def layers_of(net):
    kinds = (layers.Conv, layers.Dense)
    return jax.tree.leaves(net, is_leaf=lambda part: isinstance(part, kinds))


@pytest.mark.parametrize(
    ("text", "num_outputs", "expected"),
    [
        ("nature", 18, 1_693_362),
        ("net25", 18, 427_874),
        ("net7", 18, 113_346),
        ("net4", 18, 61_954),
        ("net1.7", 18, 29_994),
        ("net1.7", 6, 29_214),
        ("conv8-8-8x64", 6, 29_214),
        ("conv8-8-8x64-32", 6, 29_214 + 64 * 32 + 32 - (64 - 32) * 6),
        ("mlp32-16", 2, 4 * 32 + 32 + 32 * 16 + 16 + 16 * 2 + 2),
        ("mlp8", 2, 4 * 8 + 8 + 8 * 2 + 2),
    ],
)
def test_parameter_counts(text, num_outputs, expected):
    assert count(text, num_outputs) == expected


@pytest.mark.parametrize(
    ("text", "least", "most"), [("net0.5", 8_000, 9_000), ("net0.1", 1_500, 1_900)]
)
def test_the_smallest_nets_are_as_small_as_their_names(text, least, most):
    assert least <= count(text, 18) <= most
    assert text == f"net{100 * count(text, 18) / count('nature', 18):.1f}"


def test_a_text_may_spell_a_named_shape():
    assert architectures.parse("conv8-8-8x64") == NETS["net1.7"]
    assert architectures.parse("conv32-64-64x512") == NETS["nature"]
    assert architectures.parse("conv8k8s4-8k4-8s2x32") == NETS["net0.5"]
    assert architectures.parse("conv3-4k3-4s2x8") == NETS["net0.1"]
    assert architectures.parse("conv8-8x64") == architectures.ConvShape(
        (8, 8), (64,), (8, 4), (4, 2)
    )
    assert architectures.parse("mlp64-64").hidden == (64, 64)


def test_multiply_adds_are_those_of_the_layers():
    first, second, third = 20 * 20 * 8 * (8 * 8 * 4), 9 * 9 * 8 * (4 * 4 * 8), 7 * 7 * 8 * (9 * 8)
    spec = EnvSpec("ale/pong", 6, (84, 84))
    net = build("net1.7", num_outputs=6)
    assert cost.multiply_adds(net, spec) == first + second + third + 7 * 7 * 8 * 64 + 64 * 6
    vector = EnvSpec("gym/CartPole-v1", 2, (4,), "float32", stack=1)
    net = architectures.build("mlp8-6", vector, 2, key=jr.key(0))
    assert cost.multiply_adds(net, vector) == 4 * 8 + 8 * 6 + 6 * 2
    stage = 84 * 84 * 4 * 9 * 16 + 4 * 42 * 42 * 16 * 9 * 16
    stage += 42 * 42 * 16 * 9 * 32 + 4 * 21 * 21 * 32 * 9 * 32
    stage += 21 * 21 * 32 * 9 * 32 + 4 * 11 * 11 * 32 * 9 * 32
    net = build("impala", num_outputs=6)
    assert cost.multiply_adds(net, spec) == stage + 11 * 11 * 32 * 512 + 512 * 6


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("dueling", [False, True])
def test_outputs(text, dueling):
    net = build(text, num_outputs=5, dueling=dueling)
    outputs = net(example(text))
    assert outputs.shape == (2, 5) and outputs.dtype == jnp.float32
    assert len(set(outputs.ravel().tolist())) == 10 == 2 * net.num_outputs
    other = build(text, num_outputs=5, dueling=dueling, seed=1)(example(text))
    assert not np.array_equal(outputs, other)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("net3", "unknown net 'net3': did you mean 'net"),
        ("natur", "unknown net 'natur': did you mean 'nature'? "),
        ("mlp64-", "unknown net 'mlp64-': did you mean 'mlp64-64'? "),
        ("conv8-8-8", "unknown net 'conv8-8-8': did you mean 'conv8-8-8x64'? "),
        ("conv8k0-8x64", "net 'conv8k0-8x64': every kernel and stride must be 1 to 84"),
        ("conv8-8-8-8-8-8x64", "net 'conv8-8-8-8-8-8x64' has 6 convolutions: allowed: 1 to 5"),
        ("conv8-8-8x64 ", "unknown net 'conv8-8-8x64 ': did you mean 'conv8-8-8x64'? "),
        ("", "unknown net '': allowed: nature, net25, "),
        ("conv8-8-8x64-0", "net 'conv8-8-8x64-0': every width must be 1 to 4096"),
        ("conv0-8-8x64", "net 'conv0-8-8x64': every width must be 1 to 4096"),
        ("mlp64-4097", "net 'mlp64-4097': every width must be 1 to 4096"),
        ("mlp0", "net 'mlp0': every width must be 1 to 4096"),
    ],
)
def test_an_unknown_net_is_named_with_the_nearest(text, said):
    with pytest.raises(ConfigError) as error:
        architectures.parse(text)
    assert str(error.value).startswith(said)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "spec", "said"),
    [
        ("net4", VECTOR, "'net4' reads images but gym/CartPole-v1 gives vectors: use mlp64-64"),
        ("mlp8", IMAGE, "'mlp8' reads vectors but ale/pong gives images: use net1.7"),
        ("net4", EnvSpec("x", 2, (30, 84)), "'net4': frames of (30, 84) are too small for it"),
        ("net4", EnvSpec("x", 2, (84, 30)), "'net4': frames of (84, 30) are too small for it"),
    ],
)
def test_a_net_that_cannot_read_the_frames_is_refused(text, spec, said):
    with pytest.raises(ConfigError, match=re.escape(said)):
        architectures.build(text, spec, 2, key=jr.key(0))


def test_the_smallest_frames_that_fit():
    net = architectures.build("net4", EnvSpec("x", 2, (36, 36)), 2, key=jr.key(0))
    assert net(jnp.zeros((3, 36, 36, 4))).shape == (3, 2)
    with pytest.raises(ConfigError, match="too small"):
        architectures.build("net4", EnvSpec("x", 2, (35, 36)), 2, key=jr.key(0))


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize(("dueling", "he"), [(False, False), (True, False), (True, True)])
def test_initial_weights_fill_their_bounds(text, dueling, he):
    net, drawn = build(text, dueling=dueling, he=he), []
    ends = [out for _, out in net.streams]
    for layer in layers_of(net):
        fan_in = layer.weight[..., 0].size  # all axes but the outputs'
        hidden = he and not any(layer is out for out in ends)
        bound = math.sqrt(6 / fan_in) if hidden else 1 / math.sqrt(fan_in)
        if hidden:
            np.testing.assert_array_equal(layer.bias, 0)
        for values in (layer.weight,) if hidden else (layer.weight, layer.bias):
            assert float(jnp.max(jnp.abs(values))) <= bound * (1 + 1e-6)
            drawn.append(np.asarray(values / bound).ravel())
            if values.size > 200:
                assert float(jnp.max(values)) > 0.9 * bound > -0.9 * bound > float(jnp.min(values))
                assert float(jnp.std(values)) == pytest.approx(bound / math.sqrt(3), rel=0.15)
    starts = [tuple(values[:3]) for values in drawn if values.size >= 3]
    assert len(set(starts)) == len(starts), "two arrays were drawn from the same key"


@pytest.mark.parametrize("stride", [1, 2])
def test_a_convolution_is_the_naive_one(stride):
    random = np.random.default_rng(0)
    conv = layers.Conv(3, 2, kernel=3, stride=stride, key=jr.key(0), he=False)
    x = random.normal(size=(8, 7, 3)).astype(np.float32)
    weight, bias = np.asarray(conv.weight), np.asarray(conv.bias)
    height, width = (8 - 3) // stride + 1, (7 - 3) // stride + 1
    expected = np.zeros((height, width, 2))
    for i in range(height):
        for j in range(width):
            patch = x[stride * i : stride * i + 3, stride * j : stride * j + 3]
            for o in range(2):
                expected[i, j, o] = np.sum(patch * weight[..., o]) + bias[o]
    np.testing.assert_allclose(conv(jnp.asarray(x)[None])[0], expected, atol=1e-5)


def test_an_mlp_is_the_naive_one():
    net, x = build("mlp32-16", 3), np.array([1.0, -2.0, 0.5, 3.0])
    for layer in layers_of(net)[:-1]:
        x = np.maximum(x @ np.asarray(layer.weight) + np.asarray(layer.bias), 0)
    last = layers_of(net)[-1]
    expected = x @ np.asarray(last.weight) + np.asarray(last.bias)
    found = net(jnp.array([[1.0, -2.0, 0.5, 3.0]]))
    np.testing.assert_allclose(found[0], expected, atol=1e-5)


@pytest.mark.parametrize("text", ["net0.1", "mlp32-16"])
def test_the_trace_holds_every_hidden_layer(text):
    net, x = build(text, dueling=True), example(text)
    outputs, hidden = net.trace(x)
    np.testing.assert_array_equal(outputs, net(x))
    assert len(hidden) == len(net.torso) + 2
    assert all(float(h.min()) >= 0 < float(h.max()) for h in hidden)
    for found, layer in zip(hidden[: len(net.torso)], net.torso, strict=True):
        x = jax.nn.relu(layer(x))
        np.testing.assert_allclose(found, x, atol=1e-6)


@pytest.mark.parametrize("text", ["net0.1", "mlp32-16"])
def test_a_dueling_net_adds_the_value_to_the_centred_advantage(text):
    net, x = build(text, dueling=True), example(text)
    features = net.trace(x)[1][len(net.torso) - 1]
    advantage, value = (out(jax.nn.relu(dense(features))) for dense, out in net.streams)
    assert advantage.shape == (2, 6) and value.shape == (2, 1)
    centred = advantage - advantage.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(net(x), value + centred, atol=1e-6)
    np.testing.assert_allclose(net(x).mean(axis=1), value[:, 0], atol=1e-6)
    # A constant added to every advantage is no change of the policy or of the values.
    shifted = eqx.tree_at(lambda n: n.streams[0][1].bias, net, replace_fn=lambda b: b + 5)
    np.testing.assert_allclose(shifted(x), net(x), atol=1e-5)


FAMILIES = {
    "all named": tuple(NETS),
    "one net": ("net4",),
    "twins": ("net1.7", "conv8-8-8x64"),
    "several kernels": ("net4", "small kernel", "net0.1", "other stride", "net1.7"),
    "mlps": ("mlp32-16", "mlp8"),
    "none": (),
}
ODD = {
    "small kernel": ConvShape((5, 4, 4), (8,), kernels=(4, 3, 3), strides=(4, 2, 2)),
    "other stride": ConvShape((6, 4, 4), (8,), kernels=(8, 3, 3), strides=(6, 2, 2)),
}


@pytest.mark.parametrize("names", FAMILIES.values(), ids=FAMILIES)
def test_a_family_gives_what_each_net_gives_alone(names, monkeypatch):
    for name, shape in ODD.items():
        monkeypatch.setitem(NETS, name, shape)
    nets = {name: build(name, seed=i) for i, name in enumerate(names)}
    x = example(names[0]) if names else jnp.zeros((2, 84, 84, 4))

    def together(nets):
        outputs = family.outputs_of(nets, x)
        return sum((jnp.sum(jnp.square(q)) for q in outputs.values()), jnp.zeros(())), outputs

    slopes, outputs = jax.jit(jax.grad(together, has_aux=True))(nets)
    assert outputs.keys() == nets.keys()
    for name, net in nets.items():
        np.testing.assert_allclose(outputs[name], net(x), atol=1e-5, err_msg=name)
        alone = jax.jit(jax.grad(lambda net: jnp.sum(jnp.square(net(x)))))(net)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), slopes[name], alone)


@pytest.mark.parametrize("text", ["net1.7", "mlp8-8"])
def test_a_normalised_net_heeds_the_shape_of_its_features_and_not_their_size(text):
    """Its hidden layer has mean 0 and variance 1 before the ReLU, whatever comes in."""
    net, x = build(text, norm=True), example(text)
    dense, _ = net.streams[0]
    features = jr.normal(jr.key(3), (1, *dense.weight.shape[:1]))
    for factor in (1.0, 100.0):
        hidden = dense(factor * features)
        assert float(hidden.mean()) == pytest.approx(0, abs=1e-5)
        assert float(hidden.var()) == pytest.approx(1, abs=1e-2)
    plain = build(text)
    assert num_parameters(net) == num_parameters(plain) + 2 * dense.bias.shape[0]
    assert not np.allclose(net(x), plain(x))


def noisy_nets(text="mlp32-16", **options):
    """A noisy net, and the plain one with the same means."""
    noisy = build(text, noisy=True, **options)
    return noisy, qnet.without_noise(noisy)


@pytest.mark.parametrize("dueling", [False, True])
def test_a_noisy_net_without_a_draw_is_its_mean(dueling):
    noisy, mean = noisy_nets(dueling=dueling)
    x = example("mlp8")
    np.testing.assert_array_equal(noisy(x), mean(x))
    assert eqx.tree_equal(mean, build("mlp32-16", dueling=dueling))
    assert num_parameters(noisy) > num_parameters(mean)


def test_noise_is_one_number_per_input_and_output_of_a_layer():
    """Weights deviate by sigma_0 / sqrt(inputs) times f(in) f(out), f(x) = sign(x) sqrt|x|."""
    noisy, mean = noisy_nets()
    drawn = qnet.with_noise(noisy, jr.key(3))
    for stream, plain in zip(drawn.streams, mean.streams, strict=True):
        for layer, still in zip(stream, plain, strict=True):
            inputs, _ = still.weight.shape
            change = np.asarray(layer.weight - still.weight) * np.sqrt(inputs) / 0.5
            assert np.linalg.matrix_rank(change, tol=1e-3) == 1
            out = np.asarray(layer.bias - still.bias) * np.sqrt(inputs) / 0.5
            ratio = np.broadcast_to(out / out[0], change.shape)
            np.testing.assert_allclose(change / change[:, :1], ratio, rtol=1e-2)
    again, other = (qnet.with_noise(noisy, jr.key(seed)) for seed in (3, 4))
    assert eqx.tree_equal(drawn, again)
    assert not eqx.tree_equal(drawn, other)


def test_the_noise_itself_is_learnt():
    noisy, _ = noisy_nets()
    x = example("mlp8")
    slope = jax.grad(lambda net: jnp.sum(qnet.with_noise(net, jr.key(0))(x) ** 2))(noisy)
    assert all(np.any(part) for stream in slope.streams for layer in stream for part in layer.noise)


def test_a_draw_leaves_a_plain_net_as_it_is():
    plain = build("mlp32-16")
    assert eqx.tree_equal(qnet.with_noise(plain, jr.key(0)), plain)
    assert eqx.tree_equal(qnet.without_noise(plain), plain)


def test_a_dueling_nets_advantages_are_centred_for_each_atom():
    """Two actions of three atoms: their mean over actions is the value stream's output."""
    net = build("mlp8", num_outputs=6, dueling=True, atoms=3)
    x = example("mlp8")
    dense, out = net.streams[1]
    value = out(jax.nn.relu(dense(x)))
    assert value.shape == (2, 3)
    np.testing.assert_allclose(net(x).reshape(2, 2, 3).mean(axis=1), value, atol=1e-6)


def test_the_residual_net_has_the_parameters_counted_by_hand():
    """Convolutions of kernel 3: one and four more per stage; an 84x84 frame ends as 11x11."""
    stages = sum(9 * (i * o + 4 * o * o) + 5 * o for i, o in ((4, 16), (16, 32), (32, 32)))
    assert count("impala", 18) == stages + (11 * 11 * 32 + 1) * 512 + 513 * 18
    wide = sum(9 * (i * o + 4 * o * o) + 5 * o for i, o in ((4, 32), (32, 64), (64, 64)))
    assert count("impala2", 18) == wide + (11 * 11 * 64 + 1) * 512 + 513 * 18


def test_a_stage_whose_blocks_are_zero_is_its_pooled_convolution():
    stage = layers.Stage(2, 3, key=jr.key(0), he=True)
    stage = eqx.tree_at(lambda s: s.blocks, stage, jax.tree.map(jnp.zeros_like, stage.blocks))
    x = jr.normal(jr.key(1), (5, 4, 2))
    y = np.pad(stage.conv(x[None])[0], ((1, 1), (0, 1), (0, 0)), constant_values=-np.inf)
    windows = [[y[2 * i : 2 * i + 3, 2 * j : 2 * j + 3] for j in range(2)] for i in range(3)]
    expected = [[w.max(axis=(0, 1)) for w in row] for row in windows]
    np.testing.assert_allclose(stage(x[None])[0], expected, atol=1e-6)


@pytest.mark.parametrize("text", ["conv4-4-4x16", "mlp16-16"])
def test_orthogonal_weights_keep_lengths_and_each_output_has_its_gain(text):
    net, gains = draw(text, 3), jnp.array([0.01, 0.01, 1.0])
    made = qnet.orthogonal(net, jr.key(1), gains)
    assert jax.tree.structure(made) == jax.tree.structure(net)
    ((hidden, out),) = made.streams
    for layer in (*made.torso, hidden):
        flat = layer.weight.reshape(-1, layer.weight.shape[-1])
        small = flat.T @ flat if flat.shape[0] >= flat.shape[1] else flat @ flat.T
        np.testing.assert_allclose(small, 2 * np.eye(len(small)), atol=1e-4)
    np.testing.assert_allclose(out.weight.T @ out.weight, np.diag(gains**2), atol=1e-5)
    assert not any(np.any(layer.bias) for layer in (*made.torso, hidden, out))
