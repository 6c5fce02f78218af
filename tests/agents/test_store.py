"""Agents on disk: the same outputs bit by bit, or one line that names the file at fault."""

import json

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from rtpd.agents import store
from rtpd.agents.agent_files import FORMAT
from rtpd.config.settings import Config, TeacherConfig
from rtpd.errors import CheckpointError, RequestError, RunError
from rtpd.learning.teachers import TEACHERS, algorithm_of
from rtpd.learning.update import Learner
from rtpd.networks import architectures, qnet
from rtpd.networks.architectures import NETS, MlpShape
from rtpd.networks.policy import Policy
from rtpd.storage.run_folder import Run
from rtpd.training import snapshots
from rtpd.types import EnvSpec, Preprocess

IMAGE = EnvSpec("ale/pong", 6, (84, 84), action_meanings=("NOOP", "UP", "DOWN", "A", "B", "C"))
VECTOR = EnvSpec("gym/CartPole-v1", 6, (4,), "float32", stack=2, frames_per_step=1)


def make(text, dueling=False, norm=False, seed=0):
    spec = VECTOR if isinstance(architectures.parse(text), MlpShape) else IMAGE
    net = architectures.build(text, spec, 6, key=jr.key(seed), dueling=dueling, norm=norm)
    centre = jr.uniform(jr.key(seed + 1), spec.frame_shape, maxval=200.0)
    about = {"net": text, "num_outputs": 6, "dueling": dueling, "norm": norm, "step": 12}
    about["config"] = {"a": [1]}
    return Policy(net, Preprocess(centre, jnp.float32(37.5)), spec, about)


def observations(spec, count=4):
    shape = (count, spec.stack, *spec.frame_shape)
    return jr.randint(jr.key(3), shape, 0, 256).astype(spec.frame_dtype)


@pytest.mark.parametrize("text", [*NETS, "conv4-4-4x8", "mlp16-8"])
@pytest.mark.parametrize(("dueling", "norm"), [(False, False), (True, False), (True, True)])
def test_a_loaded_policy_acts_as_the_saved_one(text, dueling, norm, tmp_path):
    saved, path = make(text, dueling, norm), tmp_path / f"{text}.safetensors"
    store.save(path, saved)
    found = store.load(path)
    assert found.spec == saved.spec and found.provenance == saved.provenance
    assert jax.tree.structure(found) == jax.tree.structure(saved)
    for obs in observations(saved.spec):
        np.testing.assert_array_equal(found(obs), saved(obs))
    about = json.loads((tmp_path / f"{text}.json").read_text())
    assert about["parameters"] == sum(leaf.size for leaf in jax.tree.leaves(saved.net))


@pytest.mark.parametrize("teacher", TEACHERS)
def test_a_saved_teacher_of_any_kind_gives_its_q_values(teacher, tmp_path):
    any_net = TEACHERS[teacher].gives_q  # a policy and its value are of one plain net
    kind = TeacherConfig(teacher, net="mlp8", dueling=any_net, noisy=any_net)
    settings = Config(teacher=kind, students=("none",))
    learner = Learner(settings, {"game": VECTOR})
    state = learner.init(jr.key(0), {"game": snapshots.neutral(VECTOR)})
    agent = snapshots.policies(learner, state)["teacher"]
    store.save(tmp_path / "teacher.safetensors", agent)
    found = store.load(tmp_path / "teacher.safetensors")
    obs = observations(VECTOR, 1)[0]
    taught = state.teachers["game"]
    net = qnet.without_noise(taught.train.net)
    expected = algorithm_of(teacher).head(net(taught.preprocess(obs[None]))[0])
    assert expected.shape == (6,)
    np.testing.assert_array_equal(found(obs), agent(obs))
    np.testing.assert_allclose(found(obs), expected, rtol=1e-6)


@pytest.mark.parametrize("text", ["net0.1", "mlp16-8"])
def test_a_policy_centres_and_scales_the_raw_frames(text):
    agent = make(text)
    obs = observations(agent.spec, 1)[0]
    x = (np.asarray(obs, np.float64) - np.asarray(agent.preprocess.centre)) / 37.5
    x = x.transpose(1, 2, 0) if agent.spec.is_image else x.reshape(-1)
    np.testing.assert_allclose(
        agent(obs), agent.net(jnp.asarray(x, jnp.float32)[None])[0], atol=1e-4
    )


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "net0.1.safetensors"
    store.save(path, make("net0.1"))
    return path


def assert_refused(path, said):
    with pytest.raises(CheckpointError, match=said) as error:
        store.load(path)
    assert path.stem in str(error.value) and "\n" not in str(error.value)


def test_damaged_weights_are_found(saved):
    whole = saved.read_bytes()
    for place in {0, 8, 100, len(whole) // 2, len(whole) - 1}:
        saved.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert_refused(saved, "damaged: ")
    for content in (b"", whole[:-1], whole + b"\0"):
        saved.write_bytes(content)
        assert_refused(saved, "damaged: ")


@pytest.mark.parametrize("suffix", [".safetensors", ".json"])
def test_a_missing_file_is_named(saved, suffix):
    saved.with_suffix(suffix).unlink()
    assert_refused(saved, f"cannot read .*{suffix}")


@pytest.mark.parametrize("mask", [0x01, 0x02, 0x10])
def test_a_damaged_description_is_refused_or_changes_no_output(saved, mask):
    about, obs = saved.with_suffix(".json"), observations(IMAGE, 1)[0]
    whole, expected = about.read_bytes(), make("net0.1")(observations(IMAGE, 1)[0])
    for place in range(len(whole)):
        about.write_bytes(whole[:place] + bytes([whole[place] ^ mask]) + whole[place + 1 :])
        try:
            found = store.load(saved)
        except CheckpointError as error:
            assert "\n" not in str(error)
        else:
            np.testing.assert_array_equal(found(obs), expected, err_msg=f"{whole[place - 20 :]}")


@pytest.mark.parametrize("content", ["", "{", "{}"])
def test_a_description_that_is_no_json_is_refused(saved, content):
    saved.with_suffix(".json").write_text(content)
    assert_refused(saved, "net0.1")


@pytest.mark.parametrize("content", ["[]", "null", "1", f'{{"format": {FORMAT}}}'])
def test_a_description_that_is_none_is_refused(saved, content):
    saved.with_suffix(".json").write_text(content)
    assert_refused(saved, "net0.1")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": 99}, f"agent format 99, this rtpd reads {FORMAT}"),
        ({"num_outputs": 5}, "damaged"),
        ({"net": "net0.5"}, "damaged"),
        ({"net": "net99"}, "damaged"),
        ({"dueling": True}, "damaged"),
        ({"spec": {"name": "x"}}, "damaged"),
    ],
)
def test_a_description_of_another_net_is_refused(saved, change, said):
    about = saved.with_suffix(".json")
    about.write_text(json.dumps(json.loads(about.read_text()) | change))
    assert_refused(saved, said)


# ---- from a run --------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path):
    made = Run.create(tmp_path / "run", {"config": {}, "agents": {"teacher": {}, "net0.1": {}}})
    store.save(made.agent_path("teacher"), make("net0.5", dueling=True))
    store.save(made.agent_path("net0.1"), make("net0.1"))
    return made


def test_an_agent_is_found_in_its_run_or_by_its_file(run):
    obs = observations(IMAGE, 1)[0]
    teacher, student = make("net0.5", dueling=True)(obs), make("net0.1")(obs)
    np.testing.assert_array_equal(store.load_policy(run.path)(obs), teacher)
    np.testing.assert_array_equal(store.load_policy(str(run.path), "net0.1")(obs), student)
    np.testing.assert_array_equal(store.load_policy(run.agent_path("net0.1"))(obs), student)


def test_an_unknown_agent_is_named_with_the_nearest(run):
    with pytest.raises(RunError, match=r"unknown agent 'net0\.2': did you mean 'net0\.1'\? "):
        store.load_policy(run.path, "net0.2")


def test_what_is_no_run_and_no_agent_is_refused(tmp_path):
    with pytest.raises(RunError, match="is not a run folder"):
        store.load_policy(tmp_path / "none")
    with pytest.raises(RequestError, match="there is no agent file"):
        store.load_policy(tmp_path / "none.safetensors")
