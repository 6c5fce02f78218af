"""Exports: what is written computes the original, or nothing is written."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from pkgutil import resolve_name

import jax
import jax.random as jr
import numpy as np
import pytest

from rtpd.agents import store as agents_on_disk
from rtpd.agents.formats import onnx_file, onnx_graph
from rtpd.cli.main import main
from rtpd.errors import CheckpointError, RequestError, RtpdError
from rtpd.export import TARGETS, ExportTarget, c, export, quantise, verify
from rtpd.export.c import CTarget
from rtpd.export.onnx import OnnxTarget
from rtpd.learning.teachers import algorithm_of
from rtpd.networks import architectures, qnet
from rtpd.networks.heads import Scalar
from rtpd.networks.policy import HostPolicy, Policy
from rtpd.types import EnvSpec, Preprocess

IMAGE = EnvSpec("ale/pong", 6, (84, 84), action_meanings=("NOOP", "UP", "DOWN", "A", "B", "C"))
VECTOR = EnvSpec("gym/CartPole-v1", 2, (4,), "float32", stack=2, frames_per_step=1)
HOSTILE = 'x*/ int y; /* \n"quoted" \\ ??/ \N{SNOWMAN}'


def make(text, *, dueling=False, norm=False, teacher=None, noisy=False, spec=None, name=None):
    spec = spec or (
        VECTOR if isinstance(architectures.parse(text), architectures.MlpShape) else IMAGE
    )
    rule = algorithm_of(teacher) if teacher else None
    atoms = rule.head.atoms if rule else 1
    outputs = spec.num_actions * atoms
    net = architectures.build(
        text, spec, outputs, key=jr.key(0), dueling=dueling, norm=norm, atoms=atoms, noisy=noisy
    )
    net = qnet.without_noise(net)
    centre = jr.uniform(jr.key(1), spec.frame_shape, maxval=200.0 if spec.is_image else 1.0)
    about = {"agent": name or text, "net": text, "num_outputs": outputs, "dueling": dueling}
    about |= {"norm": norm, "step": 12}
    head = rule.head.acting if rule else Scalar()
    scale = jr.uniform(jr.key(2), spec.scale_shape, minval=0.1, maxval=37.5)
    return Policy(net, Preprocess(centre, scale), spec, about, head)


def observations(spec, count=9):
    shape = (count, spec.stack, *spec.frame_shape)
    found = jr.randint(jr.key(3), shape, 0, 256) if spec.is_image else jr.normal(jr.key(3), shape)
    return np.asarray(found.astype(spec.frame_dtype))


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_is_complete(name):
    assert isinstance(resolve_name(TARGETS[name])(), ExportTarget)


@pytest.mark.parametrize(
    ("text", "how"),
    [
        ("net1.7", {}),
        ("net0.1", {"dueling": True, "norm": True}),
        ("conv4-4-4x8-6", {"norm": True}),
        ("impala", {}),
        ("mlp16-8", {"dueling": True}),
        ("net0.5", {"teacher": "c51"}),
        ("net0.5", {"teacher": "rainbow", "dueling": True, "noisy": True}),
        ("mlp8", {"teacher": "qr-dqn", "dueling": True}),
        ("mlp8", {"teacher": "pqn", "norm": True}),
        ("mlp8", {"teacher": "ppo"}),
    ],
)
def test_an_onnx_file_gives_the_q_values_of_its_policy_for_any_number_of_frames(
    text, how, tmp_path
):
    policy, path = make(text, **how), tmp_path / "a.onnx"
    OnnxTarget().check(policy, int8=False)
    OnnxTarget().write(policy, path, None)
    found, obs = onnx_file.load(path), observations(policy.spec)
    expected = np.asarray(jax.vmap(policy)(obs))
    size = np.abs(expected).max()
    for part in (slice(0, 1), slice(0, 9)):
        given = found.q_values(obs[part])
        np.testing.assert_allclose(given, expected[part], rtol=0, atol=verify.ROUNDING * size)
    session = onnx_graph.runtime().InferenceSession(path.read_bytes())
    shape = (len(obs), *session.get_inputs()[0].shape[1:])
    q, action = session.run(None, {"frames": obs.reshape(shape)})
    assert action.dtype == np.int64
    np.testing.assert_array_equal(action, q.argmax(axis=1))
    counted = Policy(
        policy.net, policy.preprocess, replace(policy.spec, first_action=-1), {}, policy.head
    )
    OnnxTarget().write(counted, path, None)
    assert onnx_file.load(path).spec.first_action == -1
    session = onnx_graph.runtime().InferenceSession(path.read_bytes())
    given = session.run(["action"], {"frames": obs.reshape(shape)})[0]
    np.testing.assert_array_equal(given, action - 1)


def test_an_onnx_file_says_what_it_holds_whatever_its_names_are(tmp_path):
    spec = EnvSpec(f"gym/{HOSTILE}", 2, (4,), "float32", action_meanings=(HOSTILE, "b"))
    policy = make("mlp8", spec=spec, name=HOSTILE)
    OnnxTarget().write(policy, tmp_path / "a.onnx", None)
    found = onnx_file.load(tmp_path / "a.onnx")
    assert found.spec == spec
    assert found.provenance["agent"] == HOSTILE
    assert found.provenance["parameters"] == 4 * 4 * 8 + 8 + 8 * 2 + 2
    session = onnx_graph.runtime().InferenceSession((tmp_path / "a.onnx").read_bytes())
    kept = session.get_modelmeta().custom_metadata_map
    assert json.loads(kept["action_meanings"]) == [HOSTILE, "b"]


@pytest.mark.parametrize("data", [b"", b"not ONNX"])
def test_a_file_that_is_no_export_is_told_in_one_line(data, tmp_path):
    (tmp_path / "a.onnx").write_bytes(data)
    with pytest.raises(CheckpointError, match="is no ONNX file that runs") as error:
        onnx_file.load(tmp_path / "a.onnx")
    assert "\n" not in str(error.value)
    with pytest.raises(RequestError, match="there is no file"):
        onnx_file.load(tmp_path / "none.onnx")


@pytest.fixture(scope="module")
def cartpole(tmp_path_factory):
    """An agent's file whose game is quick to play."""
    spec = EnvSpec("gym/CartPole-v1", 2, (4,), "float32", stack=1, frames_per_step=1)
    path = tmp_path_factory.mktemp("agent") / "mlp8.safetensors"
    agents_on_disk.save(path, make("mlp8", spec=spec))
    return path


def test_export_writes_compares_and_plays(cartpole, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["export", str(cartpole), "--episodes", "3", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["file"] == "CartPole-v1-mlp8.onnx"
    assert result["frames"] == 2_048 and result["agreement_or_tied"] == 1
    assert result["original"] == result["exported"] and len(result["exported"]["returns"]) == 3
    assert result["bytes"] == Path(result["file"]).stat().st_size
    assert [p.name for p in tmp_path.iterdir()] == [result["file"]]
    assert main(["evaluate", result["file"], "--episodes", "3", "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["agents"]["mlp8"]["returns"] == result["exported"]["returns"]


@pytest.mark.parametrize(("change", "why"), [(0.01, "differ by"), (-3.0, "another greedy action")])
def test_a_file_that_is_not_the_original_is_refused_and_nothing_is_left(
    change, why, cartpole, tmp_path, monkeypatch
):
    write = OnnxTarget.write

    def wrong(self, policy, path, quantised):
        net = policy.net
        out = net.streams[0][1]
        moved = out.bias.at[0].add(change)
        for_all = jax.tree.map(lambda leaf: moved if leaf is out.bias else leaf, net)
        other = Policy(for_all, policy.preprocess, policy.spec, policy.provenance)
        write(self, other, path, quantised)

    monkeypatch.setattr(OnnxTarget, "write", wrong)
    with pytest.raises(RtpdError, match=why) as error:
        export(cartpole, out=tmp_path / "a.onnx", episodes=1)
    assert error.value.exit_code == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--to", "onix"], "did you mean 'onnx'"),
        (["--agent", "net1"], "unknown agent 'net1'"),
        (["--out", "none/a.onnx"], "there is no folder 'none'"),
        (["--out", "a.txt"], "must end in .onnx"),
        (["--int8"], "int8 does not go with vectors"),
        (["--epsilon", "2"], "allowed: 0 to 1"),
    ],
)
def test_what_cannot_be_exported_is_told_in_one_line(flags, said, cartpole, capsys):
    assert main(["export", str(cartpole), *flags]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_a_missing_extra_is_told(package, cartpole, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    assert main(["export", str(cartpole)]) == 2
    assert "pip install onnx onnxruntime" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "how", "why"),
    [
        ("net0.1", {"dueling": True}, "a dueling net"),
        ("net0.1", {"norm": True}, "a normalised layer"),
        ("net0.1", {"teacher": "c51"}, "several outputs"),
        ("impala", {}, "a residual net"),
    ],
)
def test_nets_that_int8_does_not_take(text, how, why):
    with pytest.raises(RequestError, match=why):
        quantise.check(make(text, **how))


def test_a_tie_is_no_disagreement_but_a_worse_action_is():
    values = np.array([[1.0, 1.0, 0.0], [0.0, 2.0, 1.0]], np.float32)
    same = verify.compare(values, values[:, [1, 0, 2]] + np.array([[0], [-9]], np.float32))
    assert same["agreement_or_tied"] == 0.5
    tied = verify.compare(values, values + np.array([[0, 1e-6, 0], [0, 0, 0]], np.float32))
    assert (tied["agreement"], tied["agreement_or_tied"]) == (0.5, 1.0)


@pytest.mark.parametrize("factor", [1e-30, 1e-9, 0.003, 0.5, 1 - 1e-12, 1.0, 700.0])
def test_a_fixed_point_factor_is_close_and_fits(factor):
    multiplier, shift = quantise.fixed_point(factor)
    assert 0 <= multiplier < 2**31 and 1 <= shift <= 62
    assert multiplier / 2**shift == pytest.approx(factor, rel=2**-30, abs=2**-32)


@pytest.fixture(scope="module")
def pong():
    """A trained student, rounded to integers, and real frames that it was not calibrated on."""
    policy = agents_on_disk.load_policy("zoo:pong/net1.7")
    from rtpd.agents.evaluate import stacks
    from rtpd.agents.sources import options_of

    seen = [
        stacks(policy, options_of(policy), count=256, epsilon=0.05, seed=seed, every=8)
        for seed in (1, 2)
    ]
    return policy, quantise.quantise(policy, seen[0]), seen[1]


def test_an_int8_student_mostly_acts_as_the_original_on_real_frames(pong):
    policy, model, frames = pong
    found = verify.compare(verify.original_values(policy, frames), model.q_values(frames))
    assert found["agreement"] > 0.9


def test_the_int8_onnx_file_is_bit_identical_to_the_integer_reference(pong, tmp_path):
    policy, model, frames = pong
    OnnxTarget().write(policy, tmp_path / "a.onnx", model)
    found = onnx_file.load(tmp_path / "a.onnx").q_values(frames)
    np.testing.assert_array_equal(found, model.q_values(frames))
    assert isinstance(onnx_file.load(tmp_path / "a.onnx"), HostPolicy)
    assert (tmp_path / "a.onnx").stat().st_size < 50_000


@pytest.mark.parametrize("sanitise", [(), ("-fsanitize=undefined", "-fno-sanitize-recover")])
def test_the_c_header_is_bit_identical_to_the_integer_reference(
    sanitise, pong, tmp_path, monkeypatch
):
    policy, model, frames = pong
    monkeypatch.setattr(c, "FLAGS", (*c.FLAGS, *sanitise))
    CTarget().check(policy, int8=True)
    CTarget().write(policy, tmp_path / "a.h", model)
    found = CTarget().load(tmp_path / "a.h", policy, model).q_values(frames)
    np.testing.assert_array_equal(found, model.q_values(frames))
    text = (tmp_path / "a.h").read_text()
    assert re.findall(r"#include.*", text) == ["#include <stdint.h>"]
    assert "float" not in text and "double" not in text and "malloc" not in text


@pytest.mark.parametrize("text", ["mlp8", "mlp5-9-4"])
def test_the_c_header_of_a_student_of_vectors_gives_its_q_values(text, tmp_path, monkeypatch):
    sanitise = ("-fsanitize=undefined", "-fno-sanitize-recover")
    monkeypatch.setattr(c, "FLAGS", (*c.FLAGS, *sanitise))
    policy = make(text)
    obs, path = observations(policy.spec, 200), tmp_path / "x.h"
    CTarget().check(policy, int8=False)
    CTarget().write(policy, path, None)
    found = verify.compare(
        verify.original_values(policy, obs), CTarget().load(path, policy, None).q_values(obs)
    )
    verify.demand(found, exact=True)
    assert re.findall(r"#include.*", path.read_text()) == ["#include <stdint.h>"]
    assert CTarget().facts(policy, None)["flash_bytes"] == 4 * (
        2 * 4 + sum(leaf.size for leaf in jax.tree.leaves(policy.net))
    )


def test_policies_of_any_number_and_kind_live_in_one_program(pong, tmp_path):
    policy, model, frames = pong
    vectors = make("mlp8", spec=replace(VECTOR, first_action=-1))
    CTarget().write(policy, tmp_path / "pong-net1.7.h", model)
    CTarget().write(policy, tmp_path / "2 pong.h", model)
    CTarget().write(vectors, tmp_path / "cart.h", None)
    source, program = tmp_path / "main.c", tmp_path / "main"
    source.write_text(
        '#include "pong-net1.7.h"\n#include "2 pong.h"\n#include "cart.h"\n#include <stdio.h>\n'
        "static uint8_t frames[PONG_NET1_7_STACK * PONG_NET1_7_HEIGHT * PONG_NET1_7_WIDTH];\n"
        "static pong_net1_7_scratch a; static policy_2_pong_scratch b; static cart_scratch c;\n"
        "int main(void) {\n"
        "    int32_t q[RTPD_ACTIONS]; float v[CART_ACTIONS];\n"
        "    float seen[CART_STACK * CART_FEATURES] = {0};\n"
        '    printf("%d %d %d\\n", (int)pong_net1_7_act(frames, q, &a),\n'
        "        (int)policy_2_pong_act(frames, q, &b), (int)cart_act(seen, v, &c));\n"
        "    return 0;\n}\n"
    )
    command = [c._compiler(), *c.FLAGS, "-o", program, source]
    subprocess.run(command, check=True, cwd=tmp_path)
    done = subprocess.run([program], capture_output=True, check=True, text=True)
    best = int(model.outputs(np.zeros_like(frames[:1])).argmax())
    cart = int(vectors(np.zeros((2, 4), np.float32)).argmax()) - 1
    assert done.stdout.split() == [str(best), str(best), str(cart)]


@pytest.mark.parametrize(
    ("text", "how"), [("mlp8", {"dueling": True}), ("mlp8", {"norm": True, "teacher": "pqn"})]
)
def test_nets_of_vectors_that_c_does_not_take(text, how):
    with pytest.raises(RequestError, match=r"--to c takes nets of vectors.* --to onnx takes more"):
        CTarget().check(make(text, **how), int8=False)


def test_hostile_names_stay_in_the_comment_of_the_header(pong, tmp_path):
    policy, model, frames = pong
    spec = replace(policy.spec, name=HOSTILE, action_meanings=(HOSTILE,) * 6)
    named = Policy(policy.net, policy.preprocess, spec, {"agent": HOSTILE, "net": HOSTILE})
    CTarget().write(named, tmp_path / "a.h", model)
    found = CTarget().load(tmp_path / "a.h", named, model).q_values(frames[:4])
    np.testing.assert_array_equal(found, model.q_values(frames[:4]))
    assert len((tmp_path / "a.h").read_text().partition("C99")[0].splitlines()) == 3


def test_the_c_example_plays_from_frames_on_standard_input(pong, tmp_path):
    policy, model, frames = pong
    CTarget().write(policy, tmp_path / "a.h", model)
    main = Path(__file__).parents[2] / "examples/c/main.c"
    header = f'-DRTPD_HEADER="{tmp_path}/a.h"'
    program = [c._compiler(), *c.FLAGS, header, "-o", tmp_path / "a", main]
    subprocess.run(program, check=True)
    newest, first = frames[:6, -1], [1, 0, 0, 0, 0, 1]
    sent = b"".join(bytes([f]) + frame.tobytes() for f, frame in zip(first, newest, strict=True))
    done = subprocess.run([tmp_path / "a"], input=sent, capture_output=True, check=True)
    stack, seen = np.zeros_like(frames[0]), []
    for f, frame in zip(first, newest, strict=True):
        stack = np.concatenate([np.zeros_like(stack[1:]) if f else stack[1:], frame[None]])
        seen.append(stack)
    q = model.outputs(np.stack(seen))
    expected = np.column_stack([q.argmax(axis=1), q])
    assert [
        [int(n) for n in line.split()] for line in done.stdout.splitlines()
    ] == expected.tolist()
