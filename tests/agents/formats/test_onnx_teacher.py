"""Agents that any program exported to ONNX: what it answered, or one line; nothing else is run.

The files in tests/data are PyTorch's, by both of its exporters: scripts/make_onnx_fixtures.py.
"""

import pickle
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtpd.agents import store
from rtpd.agents.formats import onnx_graph, onnx_teacher, pretrained
from rtpd.agents.formats.description import describe
from rtpd.agents.formats.host import ACTION_LOGIT, Reading
from rtpd.cli.main import main
from rtpd.config.settings import Config
from rtpd.errors import CheckpointError, RequestError, RtpdError
from rtpd.export.onnx import OnnxTarget
from rtpd.training.distill import teachers_of
from rtpd.types import EnvSpec

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
DATA = Path(__file__).parents[2] / "data"
LOGITS, VALUES, ACTIONS = (
    DATA / f"onnx-{name}.onnx" for name in ("cartpole-logits", "pong-q", "pong-actions")
)
IMAGE = EnvSpec("ale/pong", 6, (84, 84))
SMALL = EnvSpec("ale/pong", 6, (5, 7))
VECTOR = EnvSpec("gym/CartPole-v1", 2, (4,), "float32", stack=1, frames_per_step=1)
FLOAT, UINT8, INT64 = 1, 2, 7


def refused(path, spec, how, said, kind=RequestError):
    with pytest.raises(kind, match=said) as error:
        onnx_teacher.read(path, spec, how)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def saved(path, nodes, given, outputs, weights=(), version=17):
    """A file of a graph; `given` and `outputs` are (name, type, shape)."""
    info = onnx.helper.make_tensor_value_info
    arrays = [onnx.numpy_helper.from_array(array, name) for name, array in weights]
    graph = onnx.helper.make_graph(
        nodes, "graph", [info(*one) for one in given], [info(*one) for one in outputs], arrays
    )
    opset = [onnx.helper.make_opsetid("", version)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return path


def linear(path, shape, actions, output="q_values", kind=FLOAT, batch="N"):
    """A file of one dense layer, and its weights [I A]."""
    weights = np.random.default_rng(0).normal(size=(int(np.prod(shape)), actions))
    weights = weights.astype(np.float32)
    node = onnx.helper.make_node
    nodes = [
        node("Cast", ["x"], ["f"], to=FLOAT),
        node("Flatten", ["f"], ["v"]),
        node("MatMul", ["v", "w"], [output]),
    ]
    given, outputs = [("x", kind, [batch, *shape])], [(output, FLOAT, [batch, actions])]
    return saved(path, nodes, given, outputs, [("w", weights)]), weights


# ---- what is read ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "spec", "how", "gives_q"),
    [
        (LOGITS, VECTOR, Reading(), False),
        (VALUES, IMAGE, Reading("q"), True),
        (ACTIONS, IMAGE, Reading(scale=255), False),
    ],
)
def test_answers_on_real_frames_are_those_of_pytorch(path, spec, how, gives_q, tmp_path):
    agent, expected = onnx_teacher.read(path, spec, how), np.load(path.with_suffix(".npz"))
    obs, answer = expected["obs"].reshape(-1, spec.stack, *spec.frame_shape), expected["answer"]
    found = agent.q_values(obs)
    assert found.dtype == np.float32 and agent.head.gives_q == gives_q
    if path == ACTIONS:
        np.testing.assert_array_equal(found, ACTION_LOGIT * np.eye(6)[answer])
    else:
        np.testing.assert_allclose(found, answer, atol=1e-4)
        assert np.ptp(answer, axis=0).max() > 0.1, "the answers hardly depend on what is seen"
    store.save(tmp_path / "teacher.safetensors", agent)
    kept = store.load_any(tmp_path / "teacher.onnx")
    assert kept.provenance == agent.provenance and kept.head == agent.head
    np.testing.assert_array_equal(kept.q_values(obs), found)


@pytest.mark.parametrize("kind", [UINT8, FLOAT])
@pytest.mark.parametrize("batch", ["N", 1])
@pytest.mark.parametrize("shape", [(4, 5, 7), (5, 7, 4), (1, 5, 7), (5, 7, 1), (5, 7)])
def test_the_shape_of_the_input_says_what_is_seen(shape, batch, kind, tmp_path):
    path, weights = linear(tmp_path / "x.onnx", shape, 6, kind=kind, batch=batch)
    agent = onnx_teacher.read(path, SMALL, Reading(scale=255.0 if kind == FLOAT else None))
    obs = np.random.default_rng(1).integers(0, 256, (3, 4, 5, 7)).astype(np.uint8)
    seen = obs if 4 in shape else obs[:, 3:]
    seen = seen.transpose(0, 2, 3, 1) if shape[-1] in (4, 1) else seen
    expected = seen.reshape(3, -1).astype(np.float64) @ weights / (255 if kind == FLOAT else 1)
    np.testing.assert_allclose(agent.q_values(obs), expected, rtol=1e-4, atol=1e-3)


def test_of_several_outputs_values_come_before_actions(tmp_path):
    path, weights = linear(tmp_path / "x.onnx", (4,), 2, "policy-logits")
    model = onnx.load(path)
    node, info = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    more = node("ArgMax", ["policy-logits"], ["action"], axis=1, keepdims=0)
    model.graph.node.append(more)
    model.graph.output.insert(0, info("action", INT64, ["N"]))
    onnx.save(model, path)
    obs = np.random.default_rng(1).normal(size=(5, 1, 4)).astype(np.float32)
    logits = onnx_teacher.read(path, VECTOR, Reading())
    np.testing.assert_allclose(logits.q_values(obs), obs[:, 0] @ weights, atol=1e-5)
    taken = onnx_teacher.read(path, VECTOR, Reading("actions")).q_values(obs)
    np.testing.assert_array_equal(taken.argmax(1), (obs[:, 0] @ weights).argmax(1))


def test_what_rtpd_has_exported_can_teach_too(tmp_path):
    agent = store.load_policy("zoo:pong/net0.1")
    OnnxTarget().write(agent, tmp_path / "x.onnx", None)
    found = onnx_teacher.read(tmp_path / "x.onnx", agent.spec, Reading())
    obs = np.load(VALUES.with_suffix(".npz"))["obs"]
    np.testing.assert_allclose(found.q_values(obs), agent.q_values(obs), rtol=1e-3, atol=1e-3)
    assert found.head.gives_q


# ---- what does not fit, or does not say --------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "spec", "how", "said"),
    [
        (VALUES, IMAGE, Reading(), "what its output 'linear_1' is: --teacher-output q or logits"),
        (ACTIONS, IMAGE, Reading(), "--teacher-scale 255 if it sees 0 to 1, --teacher-scale 1"),
        (VALUES, IMAGE, Reading("q", 255.0), "--teacher-scale 255 is for images of floats alone"),
        (LOGITS, VECTOR, Reading(scale=2.0), "--teacher-scale 2 is for images of floats alone"),
        (LOGITS, VECTOR, Reading("actions"), r"logits \[1, 2\]: allowed: actions, gym/CartPole"),
        (LOGITS, IMAGE, Reading(), r"it reads \[4\], ale/pong shows \[4, 84, 84\]: allowed: \[84"),
        (VALUES, VECTOR, Reading("q"), r"reads \[4, 84, 84\], gym/CartPole-v1 shows \[4\]"),
        (VALUES, replace(IMAGE, num_actions=4), Reading("q"), r"\[1, 6\].*pong has 4 actions"),
        (VALUES, replace(IMAGE, stack=2), Reading("q"), r"ale/pong shows \[2, 84, 84\]"),
    ],
)
def test_what_does_not_fit_is_refused_with_both_values(path, spec, how, said):
    refused(path, spec, how, said)


def test_graphs_of_another_kind_are_named(tmp_path):
    path = tmp_path / "x.onnx"
    linear(path, (4,), 2, batch=8)
    refused(path, VECTOR, Reading(), "it reads batches of 8: allowed: 1, or any number")
    linear(path, (4,), 2, kind=INT64)
    refused(path, VECTOR, Reading(), "its input 'x' is of another kind: allowed: uint8 or float")
    linear(path, (4,), 2, kind=UINT8)
    refused(path, VECTOR, Reading(), "it reads uint8, gym/CartPole-v1 shows float32")
    add = [onnx.helper.make_node("Add", ["x", "y"], ["q"])]
    both = [(name, FLOAT, ["N", 2]) for name in ("x", "y")]
    saved(path, add, both, [("q", FLOAT, ["N", 2])])
    refused(path, VECTOR, Reading(), "it has 2 inputs: allowed: 1")
    path.write_bytes(b"")
    refused(path, VECTOR, Reading(), "no ONNX file that runs", CheckpointError)
    refused(tmp_path / "none.onnx", VECTOR, Reading(), "there is no file")


def test_a_graph_that_computes_one_state_alone_but_says_any_number_is_refused(tmp_path):
    path, _ = linear(tmp_path / "x.onnx", (4,), 2)
    model = onnx.load(path)
    model.graph.node[1].op_type = "Reshape"
    model.graph.node[1].input.append("one")
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1, 4]), "one"))
    onnx.save(model, path)
    agent = onnx_teacher.read(path, VECTOR, Reading())
    assert agent.q_values(np.zeros((1, 1, 4), np.float32)).shape == (1, 2)
    with pytest.raises(CheckpointError, match="no ONNX file that runs"):
        agent.q_values(np.zeros((2, 1, 4), np.float32))


# ---- statistics of vectors ---------------------------------------------------------------------

STATISTICS = DATA / "sb3-cartpole-vecnormalize.pkl"  # of make_sb3_fixtures.py, as its .npz
MEAN, VAR = np.array([1.0, -2.0, 0.5, 0.0]), np.array([4.0, 0.25, 1.0, 1e-3])
OBS = np.random.default_rng(3).normal(size=(20, 1, 4)).astype(np.float32)
SEEN = ((OBS - MEAN) / np.sqrt(VAR + 1e-8)).astype(np.float32)


@pytest.mark.parametrize("suffix", [".npz", ".json", ".pkl"])
@pytest.mark.parametrize("path", [LOGITS, DATA / "sb3-cartpole-ppo.zip"])
def test_a_teacher_of_normalised_vectors_sees_them_so(path, suffix, tmp_path):
    file = tmp_path / f"statistics{suffix}"
    if suffix == ".npz":
        np.savez(file, mean=MEAN, var=VAR, epsilon=1e-8)
    elif suffix == ".pkl":
        file = STATISTICS
    else:
        file.write_text(f'{{"mean": {MEAN.tolist()}, "var": {VAR.tolist()}}}')
    agent = pretrained.read(path, VECTOR, Reading(normalize=pretrained.statistics(file)))
    plain = pretrained.read(path, VECTOR)
    ask = [one.q_values if hasattr(one, "model") else jax.vmap(one) for one in (agent, plain)]
    expected = OBS if suffix != ".pkl" else np.load(STATISTICS.with_suffix(".npz"))
    seen = SEEN if suffix != ".pkl" else expected["seen"][:, None]
    obs = OBS if suffix != ".pkl" else expected["obs"][:, None]
    np.testing.assert_allclose(ask[0](obs), ask[1](seen), rtol=1e-4, atol=1e-4)
    store.save(tmp_path / "teacher.safetensors", agent)
    kept = store.load_any(tmp_path / f"teacher.{'onnx' if path == LOGITS else 'safetensors'}")
    again = kept.q_values if path == LOGITS else jax.vmap(kept)
    np.testing.assert_array_equal(again(OBS), ask[0](OBS))


def test_a_file_that_has_not_changed_is_not_written_again(tmp_path):
    """A new file has a number of its own."""
    agent, path = pretrained.read(LOGITS, VECTOR), tmp_path / "teacher.onnx"
    store.save(path, agent)
    before = path.stat().st_ino
    store.save(path, agent)
    assert path.stat().st_ino == before
    path.write_bytes(b"another")
    store.save(path, agent)
    assert path.read_bytes() == agent.model


SEEN_AS_IT_IS = STATISTICS.read_bytes().replace(b"norm_obs\x94\x88", b"norm_obs\x94\x89")


class Weapon:
    """Leaves a file when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return open, (self.mark, "w")


@pytest.mark.parametrize(
    ("name", "write", "kind", "said"),
    [
        ("x.npz", dict(mean=MEAN[:2], var=VAR[:2]), RequestError, r"of \[2\], .* shows \[4\]"),
        ("x.npz", dict(mean=MEAN), CheckpointError, "holds mean: allowed: mean, var, epsilon"),
        ("x.npz", dict(mean=MEAN, var=-VAR), CheckpointError, "no finite number above 0"),
        ("x.npz", dict(mean=MEAN, var=VAR[:1]), CheckpointError, r"mean \[4\] and deviation \[1\]"),
        ("x.npz", dict(mean=MEAN, var=VAR > 0), CheckpointError, "no array of numbers"),
        ("x.npz", dict(mean=MEAN, var=np.array([{}])), CheckpointError, "no array of numbers"),
        ("x.json", b'{"mean": [1], "var": [NaN]}', CheckpointError, "no JSON of mean and var"),
        ("x.json", b'{"mean": [[1], 2], "var": [1]}', CheckpointError, "no JSON of mean and var"),
        ("x.json", b"[]", CheckpointError, "no JSON of mean and var"),
        ("x.pkl", None, RequestError, "holds no 'obs_rms': allowed: what VecNormalize.save"),
        ("x.pkl", b"", CheckpointError, "no pickle that can be read"),
        ("x.pkl", SEEN_AS_IT_IS, RequestError, "saved with norm_obs=False: .* without --teacher-n"),
        ("x.pkl", b"\x80\x04\x8c\x01aR.", CheckpointError, "no pickle that can be read"),
    ],
)
def test_statistics_that_are_none_are_refused_and_nothing_is_unpickled(
    name, write, kind, said, tmp_path
):
    path, mark = tmp_path / name, tmp_path / "mark"
    if isinstance(write, dict):
        np.savez(path, **write)
    else:
        path.write_bytes(pickle.dumps(Weapon(str(mark))) if write is None else write)
    with pytest.raises(kind, match=said) as error:
        pretrained.statistics(path).check(VECTOR)
    assert "\n" not in str(error.value) and not mark.exists()


def test_deep_keys_of_a_pickle_do_not_end_the_process(tmp_path):
    path = tmp_path / "x.pkl"
    path.write_bytes(b"\x80\2}" + b")" + b"\x85" * 100_000 + b"Ns.")
    with pytest.raises(CheckpointError, match="a dict is damaged"):
        pretrained.statistics(path)


@given(place=st.integers(0, 1800), value=st.integers(0, 255))
def test_a_damaged_pickle_is_read_or_refused_in_one_line(normalised, place, value):
    damaged = bytearray(STATISTICS.read_bytes())
    damaged[place % len(damaged)] = value
    normalised.write_bytes(damaged)
    try:
        pretrained.statistics(normalised)
    except RtpdError as error:
        assert "\n" not in str(error)


@pytest.fixture(scope="module")
def normalised(tmp_path_factory):
    """Where damaged statistics may be written again and again."""
    return tmp_path_factory.mktemp("damaged") / "x.pkl"


# ---- what is hostile or damaged ----------------------------------------------------------------


def looping(model):
    model.graph.node[0].op_type = "Loop"


def padded(model):
    pads = next(a for a in model.graph.node[2].attribute if a.name == "pads")
    pads.ints[:] = [2**40] * 4


def of_a_graph(model):
    model.graph.node[0].attribute.add(name="value", type=5)


def outside(model):
    model.graph.initializer[0].data_location = 1
    model.graph.initializer[0].external_data.add(key="location", value="/etc/passwd")


def constant_outside(model):
    node = model.graph.node.add(op_type="Constant", output=["c"])
    item = node.attribute.add(name="value", type=4)
    item.t.data_type, item.t.data_location = 1, 1
    item.t.external_data.add(key="location", value="/etc/passwd")


def expanded(model):
    big = onnx.numpy_helper.from_array(np.array([2**20, 1, 6]), "big")
    model.graph.initializer.append(big)
    model.graph.node.add(op_type="Expand", input=["linear_1", "big"], output=["e"])


def open_shape(model):
    model.graph.node.add(op_type="Shape", input=["frames"], output=["s"])
    model.graph.node.add(op_type="Cast", input=["val_6"], output=["i"]).attribute.add(
        name="to", i=7, type=2
    )
    model.graph.node.add(op_type="Reshape", input=["linear_1", "i"], output=["r"])


def claimed(model):
    model.graph.initializer[0].dims[0] = 2**40


def not_finite(model):
    weights = model.graph.initializer[0]
    weights.raw_data = b"\0\0\x80\x7f" + weights.raw_data[4:]


def of_others(model):
    model.graph.node[0].domain = "com.example"


HOSTILE = [
    looping, padded, of_a_graph, outside, constant_outside, expanded, open_shape, claimed,
    not_finite, of_others,
]  # fmt: skip


@pytest.mark.parametrize("change", HOSTILE)
def test_graphs_that_are_made_to_hurt_never_reach_the_runtime(change, tmp_path, monkeypatch):
    model = onnx.load(VALUES)
    change(model)
    path = tmp_path / "x.onnx"
    path.write_bytes(model.SerializeToString())
    monkeypatch.setattr(onnx_graph.runtime(), "InferenceSession", None)
    refused(path, IMAGE, Reading("q"), "no ONNX file that runs", CheckpointError)
    with pytest.raises(CheckpointError) as error:  # of what is asked for before a session is made
        describe(path)
    assert "not callable" not in str(error.value)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Where a damaged file may be written again and again."""
    return tmp_path_factory.mktemp("damaged") / "agent.onnx"


@given(data=st.data(), mask=st.integers(1, 255))
def test_a_damaged_file_is_read_or_refused_in_one_line(place, data, mask):
    flipped = bytearray(LOGITS.read_bytes())
    flipped[data.draw(st.integers(0, len(flipped) - 1) | st.integers(0, 1500))] ^= mask
    place.write_bytes(flipped[: data.draw(st.integers(0, len(flipped))) or None])
    try:
        onnx_teacher.parsed(place)
    except RtpdError as error:
        assert "\n" not in str(error)


# ---- what is told of a file --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("onnx-pong-q.onnx", ("ONNX", None, [4, 84, 84], 6, None, 6795)),
        ("onnx-cartpole-logits.onnx", ("ONNX", None, [4], 2, "logits", 1282)),
        ("onnx-pong-actions.onnx", ("ONNX", None, [84, 84, 4], None, "actions", 6794)),
        ("sb3-pong-ppo.zip", ("Stable-Baselines3", "PPO", [4, 84, 84], 6, "logits", 178_566)),
        ("cleanrl-pong-dqn.cleanrl_model", ("CleanRL", "DQN", [4, 84, 84], 6, "q", 96_848)),
        ("cleanrl-pong-c51.cleanrl_model", ("CleanRL", "C51", [4, 84, 84], 6, "q", 97_100)),
    ],
)
def test_a_file_is_described(name, told):
    found = describe(DATA / name)
    keys = ("program", "algorithm", "sees", "actions", "answers", "parameters")
    assert tuple(found[key] for key in keys) == told
    assert found["teaches"] and found["command"].endswith(f"{name} GAME")
    games = "pong" in name and found["actions"]
    assert ("Atari games with 6 actions: " in found["fits"]) == bool(games)


@pytest.mark.parametrize(
    ("name", "flags"),
    [
        ("onnx-pong-q.onnx", "--teacher-output OUTPUT "),
        ("onnx-pong-actions.onnx", "--teacher-scale SCALE "),
        ("onnx-cartpole-logits.onnx", ""),
        ("sb3-pong-ppo.zip", ""),
    ],
)
def test_the_command_that_is_told_has_every_flag_that_it_needs(name, flags, capsys):
    found = describe(DATA / name)
    assert found["command"] == f"rtpd distill {flags}{DATA / name} GAME"
    assert [f"{flag} {flag.rpartition('-')[2].upper()} " for flag in found["needs"]] == (
        [flags] if flags else []
    )
    assert main(["teachers", "--file", str(DATA / name)]) == 0
    said = capsys.readouterr().out
    assert all(f"{allowed}\n" in said for allowed in found["needs"].values())


@pytest.mark.parametrize("name", ["v.pkl", "v.zip", "arrays.npz", "empty.onnx"])
def test_what_lies_beside_agents_is_told_as_what_it_is(name, tmp_path):
    path = tmp_path / name
    pickled = DATA / "sb3-cartpole-vecnormalize.pkl"
    whole = pickled if name[0] == "v" else LOGITS.with_suffix(".npz")
    path.write_bytes(b"" if name == "empty.onnx" else whole.read_bytes())
    said = {"v": "statistics of a VecNormalize.*--teacher-normalize", "a": "holds arrays"}
    piece = said.get(name[0], "it is empty")
    for read in (describe, lambda file: teachers_of(file, Config(env="gym/CartPole-v1"))):
        with pytest.raises(RtpdError, match=piece) as error:
            read(path)
        assert "\n" not in str(error.value)
