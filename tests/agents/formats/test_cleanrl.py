"""Agents of CleanRL: what PyTorch answered, or one line; nothing in a file is ever run.

The files in tests/data are of nets as CleanRL's programs have them: scripts/make_sb3_fixtures.py.
"""

import os
import pickle
from dataclasses import replace
from functools import cache
from pathlib import Path

import equinox as eqx
import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtpd.agents import store
from rtpd.agents.formats import pretrained, torch_file
from rtpd.config.settings import Config
from rtpd.errors import CheckpointError, RequestError, RtpdError
from rtpd.training.distill import teachers_of
from rtpd.types import EnvSpec

DATA = Path(__file__).parents[2] / "data"
DQN, PPO, C51 = (DATA / f"cleanrl-pong-{name}.cleanrl_model" for name in ("dqn", "ppo", "c51"))
IMAGE = EnvSpec("ale/pong", 6, (84, 84))
VECTOR = EnvSpec("gym/CartPole-v1", 2, (4,), "float32", stack=1, frames_per_step=1)
BOTH = pytest.mark.parametrize(("path", "gives_q"), [(DQN, True), (PPO, False), (C51, True)])


@cache
def weights(path):
    return torch_file.state_dict(path.read_bytes(), str(path))


def dense(*shapes, seed=0, **named):
    """Weights of dense layers [O I] by their names."""
    rng = np.random.default_rng(seed)
    arrays = {}
    for name, shape in [*shapes, *named.items()]:
        arrays[f"{name}.weight"] = rng.normal(size=shape).astype(np.float32)
        arrays[f"{name}.bias"] = rng.normal(size=shape[0]).astype(np.float32)
    return arrays


def refused(path, spec, said, kind=RequestError):
    with pytest.raises(kind, match=said) as error:
        pretrained.read(path, spec)
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)


@pytest.fixture
def saved(tmp_path, saved_by_torch):
    """A function that writes a state dict, or what stands in the place of its list of tensors."""

    def write(arrays, pickle=None):
        path = tmp_path / "agent.cleanrl_model"
        path.write_bytes(saved_by_torch(arrays, pickle))
        return path

    return write


@BOTH
def test_answers_and_greedy_actions_are_those_of_pytorch(path, gives_q, tmp_path):
    agent, expected = pretrained.read(path, IMAGE), np.load(path.with_suffix(".npz"))
    answers = jax.vmap(agent)(expected["obs"])
    size = getattr(agent.head, "limit", 1)  # of values that are means of such
    np.testing.assert_allclose(answers, expected["q"], atol=1e-5 * size)
    np.testing.assert_array_equal(answers.argmax(axis=1), expected["action"])
    assert np.ptp(expected["q"], axis=0).max() > 0.1, "the answers hardly depend on what is seen"
    assert agent.head.gives_q == gives_q and agent.provenance["net"] == "conv32-64-64x6"
    assert agent.provenance["source"]["algorithm"] == path.stem.rpartition("-")[2].upper()
    store.save(tmp_path / "teacher.safetensors", agent)
    kept = store.load(tmp_path / "teacher.safetensors")
    assert kept.provenance == agent.provenance and kept.head == agent.head
    np.testing.assert_array_equal(kept(expected["obs"][0]), agent(expected["obs"][0]))


def test_agents_of_vectors_have_relu_or_as_a_policy_tanh(saved):
    x = np.random.default_rng(1).normal(size=(20, 1, 4)).astype(np.float32)
    for prefix, bend in (("network", lambda y: np.maximum(y, 0)), ("actor", np.tanh)):
        arrays = dense(
            (f"{prefix}.0", (7, 4)), (f"{prefix}.2", (5, 7)), (f"{prefix}.4", (2, 5)),
            ("critic.0", (7, 4)), ("critic.2", (1, 7)),
        )  # fmt: skip
        arrays["critic.0.bias"][:] = np.nan  # nobody asks it
        agent, y = pretrained.read(saved(arrays), VECTOR), x[:, 0]
        for i in (0, 2, 4):
            y = (bend(y) if i else y) @ arrays[f"{prefix}.{i}.weight"].T
            y = y + arrays[f"{prefix}.{i}.bias"]
        np.testing.assert_allclose(jax.vmap(agent)(x), y, atol=1e-5)
        assert agent.head.gives_q == (prefix == "network")
        assert (agent.preprocess.scale == 1).all()


@pytest.mark.parametrize("name", ["agent.cleanrl_model", "agent.pth", "agent.pt"])
def test_a_file_is_known_by_its_name(name, tmp_path):
    path = tmp_path / name
    path.write_bytes(PPO.read_bytes())
    (found,) = teachers_of(path, Config(env="pong", teacher="frozen")).values()
    assert eqx.tree_equal(found.net, pretrained.read(PPO, IMAGE).net)
    with pytest.raises(RequestError, match=r"does not say what it plays: rtpd distill .* GAME"):
        teachers_of(path, Config(env="", teacher="frozen"))
    with pytest.raises(RequestError, match="there is no file"):
        teachers_of(tmp_path / f"no-{name}", Config(env="pong", teacher="frozen"))


@pytest.mark.parametrize(
    ("spec", "there", "here"),
    [
        (VECTOR, r"\[4, 84, 84\] and 6 actions", r"\[4\] and 2 actions"),
        (replace(IMAGE, num_actions=18), ".* and 6 actions", ".* and 18 actions"),
        (replace(IMAGE, stack=1), r"\[4, 84, 84\]", r"\[1, 84, 84\]"),
        (replace(IMAGE, frame_shape=(96, 96)), r"\[4, 84, 84\]", r"\[4, 96, 96\]"),
    ],
)
@BOTH
def test_another_environment_is_refused_with_both_numbers(path, gives_q, spec, there, here):
    refused(path, spec, f"it has observations {there}.*, {spec.name} has observations {here}")


@pytest.mark.parametrize("limit", [10.0, 100.0])
def test_a_c51_of_vectors_has_the_atoms_that_it_was_trained_with(limit, saved, tmp_path):
    atoms = np.linspace(-limit, limit, 11, dtype=np.float32)
    arrays = dense(("network.0", (7, 4)), ("network.2", (22, 7))) | {"atoms": atoms}
    agent = pretrained.read(saved(arrays), VECTOR)
    x = np.random.default_rng(1).normal(size=(20, 1, 4)).astype(np.float32)
    hidden = np.maximum(x[:, 0] @ arrays["network.0.weight"].T + arrays["network.0.bias"], 0)
    logits = (hidden @ arrays["network.2.weight"].T + arrays["network.2.bias"]).reshape(20, 2, 11)
    q = np.asarray(jax.nn.softmax(logits)) @ atoms
    np.testing.assert_allclose(jax.vmap(agent)(x), q, atol=1e-5 * limit)
    store.save(tmp_path / "teacher.safetensors", agent)
    assert store.load(tmp_path / "teacher.safetensors").head == agent.head


def changed(path, drop=None, **more):
    kept = {k: v for k, v in weights(path).items() if drop is None or not k.startswith(drop)}
    return kept | more


ONE = np.ones(2, np.float32)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        (changed(DQN, **{"atoms": ONE}), "first: 'atoms': allowed: those of CleanRL's dqn"),
        (changed(C51, **{"atoms": 2 * ONE}), "first: 'atoms'"),
        (changed(DQN, **{"atoms": np.linspace(-1, 1, 4, dtype=np.float32)}), "6 outputs are no 4"),
        (changed(PPO, **{"lstm.bias_hh_l0": ONE}), r"first: 'lstm\.bias_hh_l0'"),
        (changed(PPO, **{"network.1.weight": ONE}), r"first: 'network\.1\.weight'"),
        (changed(DQN, "network.9"), r"first: 'network\.9\.bias'"),
        (changed(PPO, "network.4"), r"first: 'network\.4\.bias'"),
        (changed(PPO, "network."), r"first: 'actor\.bias'"),
        (dense(actor_mean=(2, 4)) | {"actor_logstd": ONE}, r"first: 'actor_logstd'"),
        (dense(("network.0.conv", (2, 4))), r"first: 'network\.0\.conv\.bias'"),
        (dense(("network.0\x1b\n", (2, 4))), r"first: 'network\.0\\x1b\\n\.bias'"),
        (dense(("critic.0", (2, 4))), r"first: 'network\.0'"),
        ({}, r"first: 'network\.0'"),
        (changed(DQN, **{"network.2.bias": ONE}), r"weights and biases \[64, 32, 4, 4\] and \[2\]"),
        (changed(DQN, **{"network.9.bias": ONE * np.nan}), r"'network\.9\.bias' holds what is no"),
        (
            changed(DQN, **dense(("network.2", (64, 32 * 4 * 4)))),
            r"'network\.2' has weights and biases \[64, 512\] and \[64\]",
        ),
        (
            changed(DQN, **dense(("network.7", (6, 3135)))),
            r"'network\.7' has weights \[3135, 6\], .* needs \[3136, 6\]",
        ),
    ],
)  # fmt: skip
def test_a_net_of_another_kind_is_named(arrays, said, saved):
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    refused(saved(arrays), IMAGE, said)


class Weapon:
    """Leaves a file when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"echo > '{self.mark}'",)


def test_no_pickle_in_a_file_is_run(saved, tmp_path):
    mark = tmp_path / "mark"
    weapon = pickle.dumps(Weapon(mark))
    refused(saved({}, weapon), IMAGE, r"(posix|nt)\.system", CheckpointError)
    assert not mark.exists()
    pickle.loads(weapon)
    assert mark.exists(), "the weapon was never loaded"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "no file of torch.save: agents of CleanRL's JAX are none"),
        (b"\x92\x81\xa3abc", "no file of torch.save: agents of CleanRL's JAX are none"),
        (b"\x80\x02", "the format of PyTorch before 1.6"),
        (b"PK\x03\x04", "is no zip, or is damaged"),
    ],
)
def test_what_is_no_file_of_pytorch_is_named(data, said, tmp_path):
    path = tmp_path / "agent.cleanrl_model"
    path.write_bytes(data)
    refused(path, IMAGE, said, CheckpointError)


@pytest.mark.parametrize(
    ("weights", "arguments", "said"),
    [
        ({}, {"layers": [1]}, "instruction EMPTY_LIST, which is not run: allowed: tensors"),
        ({"network.0.weight": 1.5}, {"v_min": -10.0}, "is no dict of tensors"),
        ([], {}, "which is not run: allowed: tensors"),
    ],
)
def test_arguments_that_a_c51_may_have_beside_it_are_plain_values(weights, arguments, said, saved):
    nested = pickle.dumps({"model_weights": weights, "args": arguments})
    refused(saved({}, nested), IMAGE, said, CheckpointError)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Where a damaged file may be written again and again."""
    return tmp_path_factory.mktemp("damaged") / "agent.cleanrl_model"


def small(saved_by_torch):
    arrays = dense(("actor.0", (3, 4)), ("actor.2", (2, 3)), ("critic.0", (1, 4)))
    return saved_by_torch(arrays)


def read_or_refuse(place, data):
    """The agent in these bytes, or None if they are refused in one line."""
    place.write_bytes(data)
    try:
        return pretrained.read(place, VECTOR)
    except RtpdError as error:
        assert "\n" not in str(error)
        return None


@given(share=st.floats(0, 1, exclude_max=True))
def test_a_cut_file_is_refused(place, saved_by_torch, share):
    whole = small(saved_by_torch)
    assert read_or_refuse(place, whole) is not None
    assert read_or_refuse(place, whole[: int(share * len(whole))]) is None


@given(share=st.floats(0, 1, exclude_max=True), mask=st.integers(1, 255))
def test_a_flipped_byte_is_refused_or_changes_nothing(place, saved_by_torch, share, mask):
    whole = small(saved_by_torch)
    original, flipped = read_or_refuse(place, whole), bytearray(whole)
    flipped[int(share * len(whole))] ^= mask
    found = read_or_refuse(place, bytes(flipped))
    assert found is None or eqx.tree_equal(found.net, original.net)
