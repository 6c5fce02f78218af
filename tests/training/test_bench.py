"""What `rtpd bench` reports: every family against none, and operations counted by hand."""

import json
import statistics
from dataclasses import replace
from functools import partial

import jax
import pytest

from rtpd.cli import tables
from rtpd.cli.main import main
from rtpd.config.loading import load_config
from rtpd.learning.teachers import TEACHERS
from rtpd.learning.teachers.catalogue import catalogue
from rtpd.system import compile_cache
from rtpd.training import bench as room
from rtpd.training import timing

SMALL = [
    "--preset", "double-dqn", "--rounds", "2", "--seconds", "0.05", "--replay.warmup-steps", "200",
    "--replay.capacity", "400",
]  # fmt: skip
STUDENTS = ("mlp8:kl", "mlp4:mse")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(timing, "PART_SECONDS", 0.05)
    monkeypatch.setattr(room, "SETTLING_SECONDS", 0.05)
    monkeypatch.setattr(room, "matmul_gflops", partial(room.matmul_gflops, size=256, repeats=2))


def test_families_are_compared_with_none_in_every_round(tmp_path, capsys):
    out = tmp_path / "bench.json"
    command = ["bench", "probe/chain", *SMALL, "--students", *STUDENTS]
    assert main([*command, "--json", "--out", str(out)]) == 0
    result = json.loads(capsys.readouterr().out)
    assert json.loads(out.read_text()) == result
    families = result["families"]
    assert families["none"]["students"] == ["none"]
    assert families["given"]["students"] == [*STUDENTS]
    assert families["none"]["ratios"] == [1.0, 1.0]
    for row in families.values():
        assert row["loop_steps_per_second"] == statistics.median(row["rounds"])
        assert all(ms > 0 for ms in row["milliseconds_per_iteration"].values())
    ratios = zip(families["given"]["rounds"], families["none"]["rounds"], strict=True)
    assert families["given"]["ratios"] == [given / none for given, none in ratios]
    assert result["emulator_steps_per_second"] > 0
    tables.print_bench(result)
    table = capsys.readouterr().out
    for piece in ("none", "given", "GFLOP/s", "emulating", "of no students", "steps/s"):
        assert piece in table


def test_timing_the_parts_leaves_no_update_owing_or_in_hand():
    """Else the loop measured next would rest until its updates are due again."""
    settings = replace(load_config("double-dqn"), env="probe/chain", students=STUDENTS)
    memory = replace(settings.replay, warmup_steps=200, capacity=400)
    settings = replace(settings, replay=memory)
    loop = timing.TimedLoop(settings)
    before = loop.loop.progress.updates
    loop.parts(100.0)
    assert loop.loop.progress.updates == before
    loop.env.close()


@pytest.mark.slow
def test_the_update_of_dqn_counts_the_operations_of_the_paper(capsys):
    """Three passes forward and one backward of a batch of 32, by hand from the shapes."""
    forward = 2 * (400 * 256 * 32 + 81 * 512 * 64 + 49 * 576 * 64 + 3136 * 512 + 512 * 6)
    backward = 2 * forward - 2 * 400 * 256 * 32  # the first layer needs no gradient of its input
    assert main(["bench", "pong", *SMALL, "--students", "none", "--json"]) == 0
    row = json.loads(capsys.readouterr().out)["families"]["none"]
    assert row["update_gflop"] == pytest.approx(32 * (3 * forward + backward) / 1e9, rel=0.05)


@pytest.mark.parametrize(("flag", "value"), [("--rounds", "0"), ("--seconds", "-1")])
def test_turns_that_cannot_be_are_refused_in_one_line(flag, value, capsys):
    assert main(["bench", "probe/chain", *SMALL, flag, value]) == 2
    error = capsys.readouterr().err
    assert flag in error
    assert value in error


def test_compiled_programs_are_kept_where_the_user_keeps_caches(tmp_path, monkeypatch):
    names = ("dir", "max_size")
    before = {n: getattr(jax.config, f"jax_compilation_cache_{n}") for n in names}
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert compile_cache.keep_compiled() is None  # the tests name a folder of their own
    assert jax.config.jax_compilation_cache_dir == before["dir"]
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    try:
        folder = compile_cache.keep_compiled()
        assert folder is not None
        assert folder.parent == tmp_path / "rtpd"
        assert str(folder) == jax.config.jax_compilation_cache_dir
    finally:
        for name, value in before.items():
            jax.config.update(f"jax_compilation_cache_{name}", value)


def test_teachers_are_measured_on_this_machine(monkeypatch):
    two = {name: TEACHERS[name] for name in ("munchausen", "pqn")}
    monkeypatch.setattr("rtpd.learning.teachers.catalogue.TEACHERS", two)
    measured = room.teachers(seconds=0.05, env="probe/chain")
    assert set(measured) == set(two)
    for row in measured.values():
        assert row["loop_steps_per_second"] > 0
        assert row["update_ms"] > 0


def test_every_teacher_is_listed(capsys):
    found = catalogue()
    assert set(found) == set(TEACHERS)
    for name, row in found.items():
        assert load_config(row["preset"]).teacher.algorithm == name
    assert found["dqn"]["preset"] == "nature"
    assert found["double-dqn"]["replay_bytes"] == pytest.approx(150_000 * 84 * 84, rel=0.01)
    assert found["c51"]["atoms"] == 51
    assert main(["teachers"]) == 0
    table = capsys.readouterr().out
    assert all(name in table for name in TEACHERS)
    assert main(["teachers", "--json"]) == 0
    assert "update_ms" not in json.loads(capsys.readouterr().out)["pqn"]
    assert main(["teachers", "--measure", "--seconds", "0"]) == 2
