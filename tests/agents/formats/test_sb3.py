"""Agents of Stable-Baselines3: the Q-values that PyTorch gave, or one line; nothing is ever run.

The files in tests/data are of Stable-Baselines3 itself, see scripts/make_sb3_fixtures.py.
"""

import base64
import io
import json
import math
import os
import pickle
import re
import zipfile
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
from rtpd.agents.formats import pretrained, sb3_kind, torch_file
from rtpd.agents.formats.description import describe
from rtpd.cli.main import main
from rtpd.config.settings import Config, TeacherConfig
from rtpd.errors import CheckpointError, EnvError, RequestError, RtpdError
from rtpd.training.distill import teachers_of
from rtpd.types import EnvSpec

DATA = Path(__file__).parents[2] / "data"
IMAGE = EnvSpec("ale/pong", 6, (84, 84))
VECTOR = EnvSpec("gym/CartPole-v1", 2, (4,), "float32", stack=1, frames_per_step=1)
# By file: the env that the agent was made for, what it is, and its net in our words.
AGENTS = {
    "sb3-cartpole-dqn": (VECTOR, "DQN", "mlp8-6"),
    "sb3-cartpole-qrdqn": (VECTOR, "QR-DQN", "mlp8"),
    "sb3-pong-dqn": (IMAGE, "DQN", "conv32-64-64x6"),
    "sb3-pong-qrdqn": (IMAGE, "QR-DQN", "conv32-64-64x6-9"),
    "sb3-cartpole-ppo": (VECTOR, "PPO", "mlp32-32"),
    "sb3-cartpole-a2c": (VECTOR, "A2C", "mlp12-8"),
    "sb3-pong-ppo": (IMAGE, "PPO", "conv32-64-64x32"),
}
CARTPOLE, PONG = DATA / "sb3-cartpole-qrdqn.zip", DATA / "sb3-pong-dqn.zip"
PPO, PONG_PPO = DATA / "sb3-cartpole-ppo.zip", DATA / "sb3-pong-ppo.zip"


@cache
def members(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def about(path, **changes):
    """The JSON of an agent with other values; None leaves one out."""
    told = json.loads(members(path)["data"]) | changes
    return json.dumps({key: value for key, value in told.items() if value is not None}).encode()


@pytest.fixture
def changed(tmp_path):
    """A function that writes an agent's file with other members."""

    def write(path, **replaced):
        copy = tmp_path / "copy.zip"
        names = {"data": "data", "policy": "policy.pth", "version": "_stable_baselines3_version"}
        copy.write_bytes(
            packed(members(path) | {names[name]: data for name, data in replaced.items()})
        )
        return copy

    return write


def refused(path, spec, said, kind=RequestError):
    with pytest.raises(kind, match=said) as error:
        pretrained.read(path, spec)
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)


# ---- what is read ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", AGENTS)
def test_q_values_or_logits_and_greedy_actions_are_those_of_pytorch(name):
    spec, algorithm, net = AGENTS[name]
    agent, expected = pretrained.read(DATA / f"{name}.zip", spec), np.load(DATA / f"{name}.npz")
    obs = expected["obs"].reshape(-1, spec.stack, *spec.frame_shape)
    q = jax.vmap(agent)(obs)
    assert agent.provenance["net"] == net
    assert agent.head.gives_q == (algorithm in ("DQN", "QR-DQN"))
    np.testing.assert_allclose(q, expected["q"], atol=1e-5)
    np.testing.assert_array_equal(q.argmax(axis=1), expected["action"])
    assert np.ptp(expected["q"], axis=0).max() > 0.1, "the answers hardly depend on what is seen"


@pytest.mark.parametrize("name", AGENTS)
def test_an_agent_says_where_it_comes_from_and_can_be_kept(name, tmp_path):
    spec, algorithm, _ = AGENTS[name]
    agent = pretrained.read(DATA / f"{name}.zip", spec)
    source = agent.provenance["source"]
    assert source["file"] == f"{name}.zip" and source["algorithm"] == algorithm
    assert source["stable_baselines3"].count(".") == 2 and len(source["sha256"]) == 64
    assert agent.provenance["step"] == (40_960 if name == "sb3-cartpole-ppo" else 12_345)
    store.save(tmp_path / "teacher.safetensors", agent)
    kept = store.load(tmp_path / "teacher.safetensors")
    assert kept.provenance == agent.provenance and kept.spec == spec and kept.head == agent.head
    obs = np.load(DATA / f"{name}.npz")["obs"][0].reshape(spec.stack, *spec.frame_shape)
    np.testing.assert_array_equal(kept(obs), agent(obs))


@pytest.mark.parametrize(("name", "env"), [(CARTPOLE, "gym/CartPole-v1"), (PONG, "Pong")])
def test_an_agent_is_read_for_a_named_environment(name, env):
    agent = pretrained.load(name, env)
    assert agent.spec.name == ("gym/CartPole-v1" if name == CARTPOLE else "ale/pong")
    assert len(agent.spec.action_meanings) == agent.spec.num_actions
    assert agent(np.zeros((agent.spec.stack, *agent.spec.frame_shape), np.float32)).ndim == 1
    with pytest.raises(EnvError, match="unknown game 'pung': did you mean 'pong'"):
        pretrained.load(name, "pung")


def test_what_the_file_says_of_itself_is_no_control_code(changed):
    path = changed(
        CARTPOLE, version=b"2.0\x1b[2J\n\xff" + b"9" * 90, data=about(CARTPOLE, num_timesteps="x")
    )
    found = pretrained.read(path, VECTOR).provenance
    assert found["source"]["stable_baselines3"].startswith(r"2.0\x1b[2J\n")
    assert len(found["source"]["stable_baselines3"]) == 40 and found["step"] is None


def test_gyms_name_for_the_shape_is_known_too(changed):
    space = json.loads(members(PONG)["data"])["observation_space"]
    space["shape"] = space.pop("_shape")
    path = changed(PONG, data=about(PONG, observation_space=space))
    assert pretrained.read(path, IMAGE).spec == IMAGE


# ---- what does not fit -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "spec", "there", "here"),
    [
        (CARTPOLE, IMAGE, r"\[4\] and 2 actions", r"\[4, 84, 84\] and 6 actions"),
        (PONG, VECTOR, r"\[4, 84, 84\] and 6 actions", r"\[4\] and 2 actions"),
        (PONG, replace(IMAGE, num_actions=18), ".* and 6 actions", ".* and 18 actions"),
        (CARTPOLE, replace(VECTOR, num_actions=3), ".* and 2 actions", ".* and 3 actions"),
        (PONG, replace(IMAGE, stack=1), r"\[4, 84, 84\]", r"\[1, 84, 84\]"),
        (PONG, replace(IMAGE, frame_shape=(85, 84)), r"\[4, 84, 84\]", r"\[4, 85, 84\]"),
        (CARTPOLE, replace(VECTOR, stack=2), r"\[4\]", r"\[8\]"),
    ],
)
def test_another_environment_is_refused_with_both_numbers(path, spec, there, here):
    refused(path, spec, f"it has observations {there}.*, {spec.name} has observations {here}")


NO_POLICY = "allowed: MlpPolicy and CnnPolicy of DQN, QR-DQN, PPO and A2C"


def space(kind):
    return {":type:": f"<class 'gymnasium.spaces.{kind.lower()}.{kind}'>"}


def policy_class(module, name):
    return {"__module__": module, "__init__": f"<function {name}.__init__ at 0x7f>"}


@pytest.mark.parametrize(
    ("path", "changes", "said"),
    [
        (
            CARTPOLE,
            {"policy_class": policy_class("stable_baselines3.common.policies", "BasePolicy")},
            f"copy.zip: it holds a 'stable_baselines3.common.policies.BasePolicy': {NO_POLICY}",
        ),
        (
            PONG,
            {"policy_class": policy_class("stable_baselines3.dqn.policies", "MultiInputPolicy")},
            "dicts are not read: "
            f"it holds a 'stable_baselines3.dqn.policies.MultiInputPolicy': {NO_POLICY}",
        ),
        (
            PPO,
            {"policy_class": policy_class("sb3.common.policies", "MultiInputActorCriticPolicy")},
            "dicts are not read: it holds a 'sb3.common.policies.MultiInputActorCriticPolicy'",
        ),
        (
            PPO,
            {"policy_class": policy_class("a.recurrent.policies", "RecurrentActorCriticPolicy")},
            "recurrent policies are not read: it holds a '.*RecurrentActorCriticPolicy'",
        ),
        (
            PPO,
            {"policy_class": policy_class("a.maskable.policies", "MaskableActorCriticPolicy")},
            "masks of actions are not read: it holds a '.*MaskableActorCriticPolicy'",
        ),
        (
            PPO,
            {"action_space": space("Box")},
            "continuous actions are not read: its action_space is a 'Box'",
        ),
        (
            PPO,
            {"action_space": space("MultiDiscrete")},
            "several actions at a time are not read: its action_space is a 'MultiDiscrete'",
        ),
        (
            PPO,
            {"observation_space": space("Dict")},
            "observations that are dicts are not read: its observation_space is a 'Dict'",
        ),
        (
            PPO,
            {"policy_kwargs": {"features_extractor_class": f"<class '{sb3_kind.NATURE}'>"}},
            r"not built as expected, first: 'features_extractor\.cnn\.0\.bias'",
        ),
        (CARTPOLE, {"policy_class": {"__module__": "__main__"}}, r"holds a '__main__\.\?'"),
        (CARTPOLE, {"policy_class": {"__module__": "a\x1b\n"}}, r"holds a 'a\\x1b\\n\.\?'"),
        (CARTPOLE, {"policy_class": {"__module__": [[]], "__init__": {}}}, r"holds a 'list\.\?'"),
        (CARTPOLE, {"policy_class": None}, r"holds a 'None\.\?'"),
        (CARTPOLE, {"policy_class": "DQN"}, r"holds a 'None\.\?'"),
        (
            PONG,
            {"policy_kwargs": {"features_extractor_class": "<class '__main__.Mine'>"}},
            r"unknown features extractor '__main__\.Mine': allowed: .*NatureCNN, .*Flatten",
        ),
        (
            CARTPOLE,
            {"policy_kwargs": {"activation_fn": "<class 'torch.nn.modules.activation.Tank'>"}},
            r"unknown activation 'torch\.nn\.modules\.activation\.Tank': did you mean .*Tanh'",
        ),
        (CARTPOLE, {"policy_kwargs": {"activation_fn": [[]]}}, "unknown activation 'list'"),
        (PONG, {"observation_space": {"dtype": "float32"}}, "images of float32: allowed: uint8"),
        (PONG, {"observation_space": None}, "images of None: allowed: uint8"),
        (PONG, {"observation_space": {"dtype": "uint8"}}, "it has observations None"),
        (
            PONG,
            {"observation_space": {"dtype": "uint8", "_shape": [4, 85, 85]}},
            r"it has observations \[4, 85, 85\]",
        ),
        (CARTPOLE, {"n_quantiles": 4}, "10 outputs are no 4 quantiles an action"),
        (CARTPOLE, {"n_quantiles": 0}, "10 outputs are no 0 quantiles an action"),
        (CARTPOLE, {"n_quantiles": None}, "10 outputs are no None quantiles an action"),
        (CARTPOLE, {"n_quantiles": 10}, "and 1 actions, .* and 2 actions"),
        (
            CARTPOLE,
            {"policy_kwargs": {"features_extractor_class": f"<class '{sb3_kind.NATURE}'>"}},
            r"not built as expected, first: 'quantile_net\.features_extractor\.cnn\.0\.bias'",
        ),
        (
            PONG,
            {"policy_kwargs": {"features_extractor_class": f"<class '{sb3_kind.FLATTEN}'>"}},
            r"not built as expected, first: 'q_net\.features_extractor\.cnn\.0\.bias'",
        ),
    ],
)  # fmt: skip
def test_an_agent_of_another_kind_is_named(path, changes, said, changed):
    refused(changed(path, data=about(path, **changes)), IMAGE if path == PONG else VECTOR, said)


def nature(channels=(4, 32, 64, 64), features=3136, widths=(6,), outputs=6):
    """Weights as NatureCNN names them."""
    base, kernels = "q_net.features_extractor", (8, 4, 3)
    shapes = {
        f"{base}.cnn.{2 * i}": (*channels[i : i + 2][::-1], kernels[i], kernels[i])
        for i in range(3)
    }
    shapes[f"{base}.linear.0"] = (widths[0], features)
    sizes = (*widths, outputs)
    shapes |= {f"q_net.q_net.{2 * i}": sizes[i : i + 2][::-1] for i in range(len(widths))}
    return weights(shapes)


def weights(shapes):
    arrays = {f"{name}.weight": np.ones(shape, np.float32) for name, shape in shapes.items()}
    return arrays | {f"{k}.bias": np.ones(shape[:1], np.float32) for k, shape in shapes.items()}


def test_the_nets_made_for_these_tests_are_read(changed, saved_by_torch):
    for widths in ((6,), (7, 5), (4, 3, 2)):
        path = changed(PONG, policy=saved_by_torch(nature(widths=widths)))
        text = "-".join(map(str, widths))
        assert pretrained.read(path, IMAGE).provenance["net"] == f"conv32-64-64x{text}"


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        (nature(channels=(3, 32, 64, 64)), r"cnn\.0' has weights \[8, 8, 3, 32\]"),
        (nature(features=3135), r"linear\.0' has weights \[3135, 6\], .* needs \[3136, 6\]"),
        (nature(widths=(5000,)), "net 'conv32-64-64x5000': every width must be 1 to 4096"),
        (nature(outputs=5), "and 5 actions"),
        (nature() | weights({"q_net.q_net.1": (2, 2)}), r"first: 'q_net\.q_net\.1\.bias'"),
        (nature() | {"q_net.x\x1b\n": np.ones(1)}, r"first: 'q_net\.x\\x1b\\n'"),
        (nature() | {"q_net.q_net.0.bias": np.ones(5)}, r"weights and biases \[6, 6\] and \[5\]"),
        (nature() | {"q_net.q_net.0.weight": np.ones(6)}, r"weights and biases \[6\] and \[6\]"),
        (nature() | {"q_net.q_net.0.weight": np.ones((6, 0))}, r"biases \[6, 0\] and \[6\]"),
        (nature() | {"q_net.q_net.0.bias": np.full(6, np.nan)}, r"'q_net\.q_net\.0\.bias' holds"),
        (nature() | {"q_net.q_net.0.bias": np.full(6, np.inf)}, "what is no finite number"),
        ({}, "not built as expected"),
    ],
)
def test_a_net_of_another_kind_is_named(arrays, said, changed, saved_by_torch):
    arrays = {name: array.astype(np.float32) for name, array in arrays.items()}
    refused(changed(PONG, policy=saved_by_torch(arrays)), IMAGE, said)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        (
            {"policy_class": policy_class("a.policies", "RecurrentActorCriticPolicy")},
            "recurrent policies are not read",
        ),
        ({"action_space": space("Box")}, "continuous actions are not read"),
        ({"observation_space": space("Dict")}, "observations that are dicts are not read"),
    ],
)
def test_why_an_agent_cannot_teach_is_told(changes, why, changed, capsys):
    path = changed(PPO, data=about(PPO, **changes))
    found = describe(path)
    assert not found["teaches"] and found["why"].startswith(why) and found["command"] is None
    assert main(["teachers", "--file", str(path)]) == 0
    assert re.search(rf"^why +{why}", capsys.readouterr().out, re.MULTILINE)
    assert main(["teachers", "--file", str(PPO), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == describe(PPO)


# ---- PPO and A2C --------------------------------------------------------------------------------


@cache
def actor():
    """The weights of an actor-critic of Pong by their names."""
    return torch_file.state_dict(members(PONG_PPO)["policy.pth"], "policy.pth")


def logits(path, spec):
    """Of three frames of Pong, or as many states of CartPole."""
    name = "sb3-pong-ppo" if spec == IMAGE else "sb3-cartpole-ppo"
    obs = np.load(DATA / f"{name}.npz")["obs"][:3].reshape(3, spec.stack, *spec.frame_shape)
    return np.asarray(jax.vmap(pretrained.read(path, spec))(obs))


def test_zips_from_before_actors_had_features_of_their_own_are_read(changed, saved_by_torch):
    older = {k: v for k, v in actor().items() if not k.startswith(("pi_", "vf_"))}
    assert len(older) == len(actor()) - 16
    path = changed(PONG_PPO, policy=saved_by_torch(older))
    np.testing.assert_array_equal(logits(path, IMAGE), logits(PONG_PPO, IMAGE))


def test_the_actor_has_its_own_features_and_the_critic_is_ignored(changed, saved_by_torch):
    damaged = {
        k: v if k.startswith(("pi_", "action_net")) else v * np.nan for k, v in actor().items()
    }
    path = changed(PONG_PPO, policy=saved_by_torch(damaged))
    np.testing.assert_array_equal(logits(path, IMAGE), logits(PONG_PPO, IMAGE))
    damaged |= {k: v * np.nan for k, v in actor().items() if k.startswith("pi_")}
    path = changed(PONG_PPO, policy=saved_by_torch(damaged))
    refused(path, IMAGE, r"'pi_features_extractor\.cnn\.0\.weight' holds what is no finite number")


@pytest.mark.parametrize(
    ("shared", "own"), [((), ()), ((7,), ()), ((), (6,)), ((7, 5), (6,)), ((7,), (6, 3))]
)
def test_layers_that_actor_and_critic_share_come_before_those_of_the_actor(
    shared, own, changed, saved_by_torch
):
    """As before 1.8, `net_arch=[7, dict(pi=[6], vf=[6])]`."""
    sizes = (4, *shared, *own, 2)
    names = [f"mlp_extractor.shared_net.{2 * i}" for i in range(len(shared))]
    names += [f"mlp_extractor.policy_net.{2 * i}" for i in range(len(own))]
    names += ["action_net"]
    arrays = filled(weights({k: sizes[i : i + 2][::-1] for i, k in enumerate(names)}))
    path = changed(PPO, policy=saved_by_torch(arrays))
    x = np.load(DATA / "sb3-cartpole-ppo.npz")["obs"][:3]
    for i, name in enumerate(names):
        x = (np.tanh(x) if i else x) @ arrays[f"{name}.weight"].T + arrays[f"{name}.bias"]
    np.testing.assert_allclose(logits(path, VECTOR), x, atol=1e-5)


def test_policies_have_the_classes_and_pixels_that_they_were_made_with(changed):
    before = policy_class("stable_baselines3.ppo.policies", "PPOPolicy")
    path = changed(PPO, data=about(PPO, policy_class=before, n_epochs=None))
    assert pretrained.read(path, VECTOR).provenance["source"]["algorithm"] == "A2C"
    np.testing.assert_array_equal(logits(path, VECTOR), logits(PPO, VECTOR))
    path = changed(PONG_PPO, data=about(PONG_PPO, policy_kwargs={"normalize_images": False}))
    assert pretrained.read(path, IMAGE).preprocess.scale == 1
    assert pretrained.read(PONG_PPO, IMAGE).preprocess.scale == 255


@pytest.mark.parametrize("more", ["log_std", "lstm_actor.weight_ih_l0", "action_net.0.weight"])
def test_an_actor_of_another_kind_is_named(more, changed, saved_by_torch):
    arrays = {k: v for k, v in actor().items() if not k.startswith("vf_")}
    path = changed(PONG_PPO, policy=saved_by_torch(arrays | {more: np.ones(2, np.float32)}))
    refused(path, IMAGE, f"not built as expected, first: '{more}'")


# ---- what is read exactly though rtpd trains no such nets --------------------------------------


def filled(shapes, seed=0):
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=a.shape).astype(np.float32) for name, a in shapes.items()}


OBS = np.random.default_rng(1).normal(size=(50, 1, 4)).astype(np.float32)
TORCH = {
    "Tanh": np.tanh,
    "Sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "ELU": lambda x: np.where(x > 0, x, np.expm1(x)),
    "LeakyReLU": lambda x: np.where(x > 0, x, 0.01 * x),
    "SiLU": lambda x: x / (1 + np.exp(-x)),
    "GELU": lambda x: x * (1 + np.vectorize(math.erf)(x / 2**0.5)) / 2,
}


@pytest.mark.parametrize("name", [*TORCH, None])
def test_activations_and_nets_without_a_hidden_layer_are_read_exactly(
    name, changed, saved_by_torch, tmp_path
):
    sizes = (4, 5, 10) if name else (4, 10)
    shapes = {f"quantile_net.{2 * i}": sizes[i : i + 2][::-1] for i in range(len(sizes) - 1)}
    arrays = filled({f"quantile_net.{k}": v for k, v in weights(shapes).items()})
    told = {"policy_kwargs": {"activation_fn": f"<class 'torch.nn.modules.activation.{name}'>"}}
    path = changed(
        CARTPOLE, policy=saved_by_torch(arrays), data=about(CARTPOLE, **(told if name else {}))
    )
    agent = pretrained.read(path, VECTOR)
    x = OBS[:, 0].astype(np.float64)
    for i in range(len(sizes) - 1):
        x = TORCH[name](x) if i else x
        prefix = f"quantile_net.quantile_net.{2 * i}"
        x = x @ arrays[f"{prefix}.weight"].T + arrays[f"{prefix}.bias"]
    expected = x.reshape(len(x), 5, 2).mean(axis=1)
    np.testing.assert_allclose(jax.vmap(agent)(OBS), expected, atol=1e-5)
    store.save(tmp_path / "kept.safetensors", agent)
    kept = store.load(tmp_path / "kept.safetensors")
    np.testing.assert_array_equal(jax.vmap(kept)(OBS), jax.vmap(agent)(OBS))


def test_an_activation_behind_the_relu_of_nature_is_refused(changed, saved_by_torch):
    told = {"policy_kwargs": {"activation_fn": "<class 'torch.nn.modules.activation.Tanh'>"}}
    deep = saved_by_torch(nature(widths=(7, 5)))
    refused(changed(PONG, data=about(PONG, **told), policy=deep), IMAGE, "tanh behind NatureCNN")
    shallow = changed(PONG, data=about(PONG, **told), policy=saved_by_torch(nature()))
    assert pretrained.read(shallow, IMAGE).net.activation == "relu"


def test_pixels_that_are_not_divided_are_seen_as_they_are(changed):
    path = changed(PONG, data=about(PONG, policy_kwargs={"normalize_images": False}))
    assert pretrained.read(path, IMAGE).preprocess.scale == 1
    assert pretrained.read(PONG, IMAGE).preprocess.scale == 255


def test_of_a_net_of_one_channel_the_newest_frame_is_seen(changed, saved_by_torch):
    arrays = filled(nature(channels=(1, 32, 64, 64)))
    space = {"dtype": "uint8", "_shape": [1, 84, 84]}
    path = changed(PONG, policy=saved_by_torch(arrays), data=about(PONG, observation_space=space))
    agent, alone = pretrained.read(path, IMAGE), pretrained.read(path, replace(IMAGE, stack=1))
    obs = np.random.default_rng(2).integers(0, 256, (4, 84, 84)).astype(np.uint8)
    expected = np.asarray(alone(obs[3:]))
    np.testing.assert_allclose(agent(obs), expected, rtol=1e-4, atol=1e-4 * abs(expected).max())


def test_a_zip_by_another_name_and_one_that_was_unpacked_are_read(tmp_path):
    other, folder = tmp_path / "agent.bin", tmp_path / "agent"
    other.write_bytes(CARTPOLE.read_bytes())
    with zipfile.ZipFile(CARTPOLE) as archive:
        archive.extractall(folder)
    for path in (other, folder):
        (found,) = teachers_of(
            path, Config(env="gym/CartPole-v1", teacher=TeacherConfig("frozen"))
        ).values()
        assert eqx.tree_equal(found.net, pretrained.read(CARTPOLE, VECTOR).net)


# ---- what is hostile or damaged ----------------------------------------------------------------


class Weapon:
    """Leaves a file when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"echo > '{self.mark}'",)


def test_no_pickle_in_a_file_is_run(changed, saved_by_torch, tmp_path):
    mark = tmp_path / "mark"
    weapon = pickle.dumps(Weapon(mark))
    pth = saved_by_torch({}, weapon)
    refused(changed(CARTPOLE, policy=pth), VECTOR, r"(posix|nt)\.system", CheckpointError)
    armed = json.loads(members(CARTPOLE)["data"])
    for value in armed.values():
        if isinstance(value, dict) and ":serialized:" in value:
            value[":serialized:"] = base64.b64encode(weapon).decode()
    path = changed(CARTPOLE, data=json.dumps(armed).encode())
    assert eqx.tree_equal(pretrained.read(path, VECTOR).net, pretrained.read(CARTPOLE, VECTOR).net)
    assert not mark.exists()
    pickle.loads(weapon)
    assert mark.exists(), "the weapon was never loaded"


def test_names_in_an_archive_are_no_paths(tmp_path):
    inside = packed(members(CARTPOLE) | {"../../evil": b"x", f"{tmp_path}/evil": b"x"})
    path = tmp_path / "a" / "b" / "c.zip"
    path.parent.mkdir(parents=True)
    path.write_bytes(inside)
    before = sorted(tmp_path.rglob("*"))
    pretrained.read(path, VECTOR)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("replaced", "said"),
    [
        ({"data": b"{"}, "'data' is no JSON"),
        ({"data": b"[" * 100_000}, "'data' is no JSON"),
        ({"data": b"\xff\xff"}, "'data' is no JSON"),
        ({"data": b"[]"}, "'data' does not describe an agent"),
        ({"policy": b""}, "policy.pth is no zip"),
        ({"policy": b"\x80\x02"}, "policy.pth is in the format of PyTorch before 1.6"),
    ],
)
def test_damaged_members_are_named(replaced, said, changed):
    refused(changed(CARTPOLE, **replaced), VECTOR, said, CheckpointError)


@pytest.mark.parametrize("name", ["data", "policy.pth"])
def test_missing_members_are_named(name, tmp_path):
    path = tmp_path / "copy.zip"
    path.write_bytes(packed({n: d for n, d in members(CARTPOLE).items() if n != name}))
    refused(path, VECTOR, f"holds no '{name}'", CheckpointError)


def test_what_is_no_file_is_refused(tmp_path):
    with pytest.raises(RequestError, match=r"there is no file '.*x\.zip'"):
        pretrained.read(tmp_path / "x.zip", VECTOR)
    with pytest.raises(RequestError, match="there is no file"):
        pretrained.read(tmp_path, VECTOR)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Where a damaged file may be written again and again."""
    return tmp_path_factory.mktemp("damaged") / "agent.zip"


FUZZED = pytest.mark.parametrize("path", [CARTPOLE, PPO], ids=["qr-dqn", "ppo"])


def read_or_refuse(place, data):
    """The agent in these bytes, or None if they are refused in one line."""
    place.write_bytes(data)
    try:
        return pretrained.read(place, VECTOR)
    except RtpdError as error:
        assert "\n" not in str(error)
        return None


@FUZZED
@given(data=st.data())
def test_a_cut_file_is_refused(place, path, data):
    whole = path.read_bytes()
    assert read_or_refuse(place, whole[: data.draw(st.integers(0, len(whole) - 1))]) is None


@FUZZED
@given(data=st.data(), mask=st.integers(1, 255))
def test_a_flipped_byte_is_refused_or_changes_nothing(place, path, data, mask):
    flipped = bytearray(path.read_bytes())
    flipped[data.draw(st.integers(0, len(flipped) - 1) | st.integers(-600, -1))] ^= mask
    found = read_or_refuse(place, bytes(flipped))
    if found is not None:
        assert eqx.tree_equal(found.net, pretrained.read(path, VECTOR).net)


@FUZZED
@given(data=st.data(), value=st.integers(0, 255))
def test_a_damaged_description_in_a_sound_archive_is_read_or_refused(place, path, data, value):
    damaged = bytearray(members(path)["data"])
    damaged[data.draw(st.integers(0, len(damaged) - 1))] = value
    read_or_refuse(place, packed(members(path) | {"data": bytes(damaged)}))
