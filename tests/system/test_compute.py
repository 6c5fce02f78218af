"""What nets compute in: what `auto` stands for, and what stays float32 in any case."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from rtpd.networks import architectures
from rtpd.system import compute, cpu
from rtpd.types import EnvSpec, Preprocess

PONG = EnvSpec("ale/pong", 6, (84, 84))


@pytest.mark.parametrize(
    ("features", "limit", "expected"),
    [
        ({"avx2", "avx512f", "amx_bf16"}, "", "bfloat16"),
        ({"avx2", "avx512f", "avx512_bf16"}, "", "bfloat16"),
        ({"avx2", "avx512f", "avx512_vnni"}, "", "float32"),
        ({"avx2"}, "", "float32"),
        (set(), "", "float32"),
        ({"avx2", "avx512f", "amx_bf16"}, "AVX512_CORE", "float32"),
        ({"avx2", "avx512f", "amx_bf16"}, "avx2", "float32"),
        ({"avx2", "avx512f", "amx_bf16"}, "AVX512_CORE_BF16", "bfloat16"),
    ],
)
def test_auto_is_bfloat16_where_the_processor_multiplies_it(features, limit, expected, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "cpu")
    monkeypatch.setattr(cpu, "features", lambda: frozenset(features))
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    assert compute.resolve("auto") == expected
    assert compute.resolve("float32") == "float32"
    assert compute.resolve("bfloat16") == "bfloat16"


def test_auto_is_bfloat16_on_a_gpu(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(cpu, "features", frozenset)
    assert compute.resolve("auto") == "bfloat16"


def test_vectors_are_computed_in_float32():
    assert compute.dtype("bfloat16", is_image=False) == jnp.float32
    assert compute.dtype("bfloat16", is_image=True) == jnp.bfloat16


@pytest.mark.parametrize("text", ["net1.7", "nature", "conv8-8-8x64-32", "impala"])
@pytest.mark.usefixtures("optimised")
def test_a_net_that_computes_in_bfloat16_answers_in_float32_and_nearly_the_same(text):
    net = architectures.build(text, PONG, 6, key=jr.key(0), norm=True, dueling=True)
    frames = jr.randint(jr.key(1), (4, 4, 84, 84), 0, 256).astype(jnp.uint8)
    see = Preprocess(jnp.full((84, 84), 128.0), jnp.float32(70))
    exact = net(see(frames))
    found = compute.jit(lambda net, x: net(x), "bfloat16")(net, see(frames, jnp.bfloat16))
    assert found.dtype == jnp.float32
    assert not np.array_equal(found, exact)
    np.testing.assert_allclose(found, exact, atol=0.03 * float(jnp.std(exact)) + 0.01)


def test_gradients_reach_the_weights_in_float32():
    net = architectures.build("net1.7", PONG, 6, key=jr.key(0))
    x = jr.normal(jr.key(1), (4, 84, 84, 4)).astype(jnp.bfloat16)
    slope = compute.jit(jax.grad(lambda net: jnp.sum(net(x) ** 2)), "bfloat16")(net)
    assert {leaf.dtype for leaf in jax.tree.leaves(slope)} == {jnp.dtype("float32")}
    assert all(np.any(leaf) for leaf in jax.tree.leaves(slope))


def test_a_processor_is_known_by_the_features_that_decide_how_it_rounds():
    assert set(cpu.kind()) <= set(cpu.DECISIVE)
    assert set(cpu.kind()) <= cpu.features()
