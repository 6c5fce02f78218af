"""The policy on a microcontroller: examples/firmware, compiled for Cortex-M and run under QEMU."""

import ctypes
import importlib.util
import subprocess
from pathlib import Path

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from rtpd.agents.evaluate import stacks
from rtpd.agents.sources import one_of, options_of
from rtpd.export import quantise
from rtpd.export.c import FLAGS, CTarget, _compiler
from rtpd.networks import architectures
from rtpd.networks.policy import Policy
from rtpd.types import EnvSpec, Preprocess

ROOT = Path(__file__).parents[2]
STEPS = 120
IMAGE = EnvSpec("ale/pong", 6, (84, 84))
VECTOR = EnvSpec("gym/CartPole-v1", 2, (4,), "float32", stack=2, frames_per_step=1)
IN_C = """
#include "a.h"
#include <string.h>
static rtpd_state state;
static rtpd_scratch scratch;
unsigned bytes(void);
int step(int first, const void *frame, void *q);
int act(const void *frames, void *q);
unsigned bytes(void) { return sizeof state; }
int step(int first, const void *frame, void *q)
{
    if (first) rtpd_reset(&state);
    memcpy(rtpd_next(&state), frame, sizeof state.frames[0]);
    return rtpd_step(&state, q);
}
int act(const void *frames, void *q) { return rtpd_act(frames, q, &scratch); }
"""


def module(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


board = module(ROOT / "scripts" / "microcontroller.py")
recorder = module(ROOT / "examples" / "firmware" / "record.py")
on_board = pytest.mark.skipif(
    bool(board.missing()), reason=f"not installed: {', '.join(board.missing())}"
)


def make(text):
    """A policy that has learnt nothing."""
    spec = VECTOR if text.startswith("mlp") else IMAGE
    net = architectures.build(text, spec, spec.num_actions, key=jr.key(0))
    centre = jr.uniform(jr.key(1), spec.frame_shape, maxval=200.0 if spec.is_image else 1.0)
    scale = jr.uniform(jr.key(2), spec.scale_shape, minval=0.1, maxval=37.5)
    return Policy(net, Preprocess(centre, scale), spec, {"agent": text, "net": text})


def observations(spec, count):
    """Random frames [N *F]."""
    shape, key = (count, *spec.frame_shape), jr.key(3)
    found = jr.randint(key, shape, 0, 256) if spec.is_image else jr.normal(key, shape)
    return np.array(found.astype(spec.frame_dtype))


def stacked(firsts, frames, spec):
    """The stacks [N K *F] that a policy sees, by the definition: zeros before an episode."""
    stack, seen = np.zeros((spec.stack, *spec.frame_shape), spec.frame_dtype), []
    for first, frame in zip(firsts, frames, strict=True):
        stack = np.concatenate([np.zeros_like(stack[1:]) if first else stack[1:], frame[None]])
        seen.append(stack)
    return np.stack(seen)


@pytest.fixture(scope="module", params=["net1.7", "net0.1"])
def student(request, tmp_path_factory):
    """(header, sensor file, what the reference gives) of a student of the zoo."""
    source, folder = f"zoo:pong/{request.param}", tmp_path_factory.mktemp(request.param)
    _, policy = one_of(source, None)
    calibration = stacks(policy, options_of(policy), count=64, epsilon=0.05, seed=2)
    model = quantise.quantise(policy, calibration)
    CTarget().write(policy, folder / "policy.h", model)
    firsts, frames = recorder.record(source, None, steps=STEPS, skip=60, seed=1)
    firsts[STEPS // 2] = True  # another episode
    recorder.save(folder / "policy.bin", firsts, frames)
    q = model.outputs(stacked(firsts, frames, policy.spec))
    return folder / "policy.h", folder / "policy.bin", np.column_stack([q.argmax(axis=1), q])


@on_board
def test_a_cortex_m4_acts_as_the_integer_reference_bit_by_bit(student):
    header, sensor, expected = student
    wrote, said = board.run(header, sensor)
    found = np.frombuffer(wrote, "<i4").reshape(STEPS, -1)
    np.testing.assert_array_equal(found, expected)
    assert said["steps"] == STEPS and 0 < said["stack"] < 512
    used = board.size(header, sensor, "m4", "-O2")
    assert used["data"] == 0 and used["text"] < 60_000


@on_board
@pytest.mark.parametrize("target", ["m0", "m4", "m33", "microbit"])
def test_float32_is_the_same_on_every_target_as_on_this_machine(target, tmp_path):
    policy, header, sensor = make("mlp16"), tmp_path / "policy.h", tmp_path / "policy.bin"
    CTarget().write(policy, header, None)
    frames = observations(policy.spec, 40)
    firsts = np.arange(40) % 15 == 0
    recorder.save(sensor, firsts, frames)
    board.make("host", header, sensor)
    expected = (tmp_path / "build/host.bin").read_bytes()
    found = np.frombuffer(expected, "<f4").reshape(40, -1)[:, 1:]
    q = np.asarray(policy.q_values(jnp.asarray(stacked(firsts, frames, policy.spec))))
    np.testing.assert_allclose(found, q, rtol=1e-5, atol=1e-5)
    assert board.run(header, sensor, target)[0] == expected


@on_board
def test_instructions_are_counted_the_same_twice(tmp_path):
    policy, header, sensor = make("mlp8"), tmp_path / "policy.h", tmp_path / "policy.bin"
    CTarget().write(policy, header, None)
    recorder.save(sensor, [1] * 9, observations(policy.spec, 9))
    few, more = (
        board.run(header, sensor, level=level, counted=True)[1]["ticks"] for level in ("-O2", "-O0")
    )
    assert few == board.run(header, sensor, counted=True)[1]["ticks"]
    # Each of the 2 * 4 * 8 + 8 * 2 products takes a few instructions.
    assert 80 * 9 < few * board.TICK_NS["m4"] < more * board.TICK_NS["m4"] < 80 * 9 * 200


@pytest.mark.parametrize("text", ["net0.1", "conv4-4-4x8", "mlp8"])
def test_a_ring_of_frames_gives_what_the_frames_in_order_give(text, tmp_path):
    policy, model = make(text), None
    spec = policy.spec
    frames = observations(spec, 12)
    firsts = np.arange(12) % 7 == 0
    seen = stacked(firsts, frames, spec)
    if spec.is_image:
        model = quantise.quantise(policy, seen)
    path = tmp_path / "a.h"
    CTarget().write(policy, path, model)
    (tmp_path / "a.c").write_text(IN_C)
    command = [_compiler(), *FLAGS, "-shared", "-fPIC", "-o", tmp_path / "a.so", tmp_path / "a.c"]
    subprocess.run(command, check=True)
    library = ctypes.CDLL(str(tmp_path / "a.so"))
    q = np.empty((2, spec.num_actions), "i4" if model else "f4")
    one, two = (ctypes.c_void_p(row.ctypes.data) for row in q)
    for first, frame, stack in zip(firsts, frames, seen, strict=True):
        frame, stack = np.ascontiguousarray(frame), np.ascontiguousarray(stack)
        action = library.step(int(first), ctypes.c_void_p(frame.ctypes.data), one)
        assert action == library.act(ctypes.c_void_p(stack.ctypes.data), two)
        np.testing.assert_array_equal(*q)
    facts = CTarget().facts(policy, model)
    assert library.bytes() == facts["ram_bytes"]
    assert facts["ram_bytes"] > frames[0].nbytes * spec.stack + facts["scratch_bytes"]
    assert f"RAM: {facts['ram_bytes']} bytes" in path.read_text()
