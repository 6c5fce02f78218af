"""A run is the same whatever is set for the process, and goes on without what is optional."""

import json
import os
import subprocess
import sys
import threading
import warnings
from dataclasses import replace
from pathlib import Path

import gymnasium
import jax
import pytest

from rtpd.agents.evaluate import evaluate
from rtpd.agents.store import load_policy
from rtpd.cli.main import main
from rtpd.config.settings import Config, EvaluationConfig, ReplayConfig, TeacherConfig
from rtpd.errors import ConfigError, RequestError
from rtpd.export import _publish
from rtpd.storage import files
from rtpd.storage.run_folder import Run
from rtpd.system import compile_cache
from rtpd.system.process import backend, settled
from rtpd.training.train import train

TINY = Config(
    env="gym/CartPole-v1",
    students=("mlp8:kl",),
    steps=400,
    log_steps=96,
    teacher=TeacherConfig(net="mlp16-16"),
    replay=ReplayConfig(capacity=800, warmup_steps=100),
    evaluation=EvaluationConfig(period_steps=0, episodes=1, final_episodes=2),
)
ODD = {
    "jax_enable_x64": True,
    "jax_default_prng_impl": "rbg",
    "jax_threefry_partitionable": False,
    "jax_random_seed_offset": 7,
    "jax_legacy_prng_key": "error",
    "jax_default_matmul_precision": "bfloat16",
    "jax_numpy_rank_promotion": "raise",
    "jax_numpy_dtype_promotion": "strict",
    "jax_debug_nans": True,
    "jax_debug_infs": True,
    "jax_disable_jit": True,
    "jax_check_tracer_leaks": True,
    "jax_transfer_guard": "disallow",
}


@pytest.fixture
def odd_settings():
    """JAX as hardly anybody sets it."""
    before = {name: jax.config.values[name] for name in ODD}
    for name, value in ODD.items():
        jax.config.update(name, value)
    yield
    for name, value in before.items():
        jax.config.update(name, value)


def outcome(path):
    clock = ("seconds", "steps_per_second")
    agents = {p.name: p.read_bytes() for p in (path / "agents").glob("*.safetensors")}
    return agents, [
        {k: v for k, v in r.items() if k not in clock} for r in Run.open(path).records()
    ]


def test_a_run_is_the_same_under_any_setting_of_jax(tmp_path, request):
    train(TINY, out=tmp_path / "usual")
    before = evaluate(tmp_path / "usual", episodes=2)["agents"]
    request.getfixturevalue("odd_settings")
    train(TINY, out=tmp_path / "odd")
    assert outcome(tmp_path / "odd") == outcome(tmp_path / "usual")
    assert evaluate(tmp_path / "usual", episodes=2)["agents"] == before
    load_policy(tmp_path / "usual", "mlp8")
    assert {name: jax.config.values[name] for name in ODD} == ODD  # the user's again


def test_without_a_device_there_is_one_line(monkeypatch):
    def none():
        raise AssertionError

    monkeypatch.setattr(jax, "default_backend", none)
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    for work in (backend, settled().__enter__):
        with pytest.raises(ConfigError, match="JAX_PLATFORMS=cuda: JAX finds no such device"):
            work()


@pytest.mark.parametrize("home", ["none", "file", "missing variable"])
def test_a_cache_that_cannot_be_had_is_gone_without(tmp_path, monkeypatch, home):
    for name in ("JAX_COMPILATION_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    if home == "none":  # neither HOME nor an entry of this uid

        def nowhere():
            raise RuntimeError("Could not determine home directory.")

        monkeypatch.setattr(Path, "home", nowhere)
    else:  # as a folder that cannot be written to, for root too
        (tmp_path / ".cache").write_text("")
        monkeypatch.setattr(Path, "home", lambda: tmp_path)
    before = jax.config.jax_compilation_cache_dir
    assert compile_cache.keep_compiled() is None
    assert jax.config.jax_compilation_cache_dir == before


def test_a_program_that_cannot_be_kept_is_no_reason_for_words(recwarn):
    compile_cache.keep_compiled()
    warnings.warn(
        "Error writing persistent compilation cache entry for 'x': MemoryError", stacklevel=1
    )
    assert not recwarn.list


def test_two_that_write_a_file_at_once_both_write_it_whole(tmp_path):
    path, texts = tmp_path / "page.html", [bytes([97 + i]) * 300_000 for i in range(4)]
    wrong = []

    def write(text):
        for _ in range(20):
            files.write_atomic(path, text)
            if path.read_bytes() not in texts:
                wrong.append(text[:1])

    threads = [threading.Thread(target=write, args=(text,)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert os.listdir(tmp_path) == ["page.html"]


def test_a_write_that_fails_leaves_nothing(tmp_path, monkeypatch):
    def full(*paths):
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        files.write_atomic(tmp_path / "page.html", b"x")
    assert os.listdir(tmp_path) == []


def test_a_folder_that_came_to_be_meanwhile_is_not_touched(tmp_path):
    for name in ("made", "there"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "README.md").write_text(name)
    with pytest.raises(RequestError, match="there' was made by another program"):
        _publish(tmp_path / "made", tmp_path / "there")
    assert (tmp_path / "there" / "README.md").read_text() == "there"


@pytest.mark.parametrize("closed", [">&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_standard_streams_are_no_error(closed):
    done = subprocess.run(
        ["sh", "-c", f'exec "$0" -m rtpd games {closed}', sys.executable],
        capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_no_file_gets_the_number_of_a_closed_stream(tmp_path):
    code = "import os, sys, rtpd.system.streams as s; s.open_all(); f = open(sys.argv[1], 'w'); "
    code += "os.write(1, b'printed by somebody'); sys.exit(f.fileno() < 3)"
    path = tmp_path / "metrics"
    command = ["sh", "-c", 'exec "$0" -c "$1" "$2" >&-', sys.executable, code, str(path)]
    assert subprocess.run(command).returncode == 0
    assert path.read_text() == ""


LOUD = """
import os
import gymnasium
import numpy as np

class Loud(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        print("hello from Python")
        os.write(1, b"hello from C\\n")
        return np.zeros(2, np.float32), {}

    def step(self, action):
        return np.zeros(2, np.float32), 1.0, True, False, {}

print("hello from the module")
gymnasium.register("RtpdLoud-v0", Loud, disable_env_checker=True)
"""


def test_with_json_standard_output_is_the_json_alone(tmp_path, monkeypatch, capfd):
    (tmp_path / "rtpd_loud.py").write_text(LOUD)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("RTPD_IMPORT", "rtpd_loud")
    train(replace(TINY, env="gym/RtpdLoud-v0", steps=200), out=tmp_path / "run")
    monkeypatch.delitem(sys.modules, "rtpd_loud")  # as in a new process
    monkeypatch.delitem(gymnasium.registry, "RtpdLoud-v0")
    capfd.readouterr()
    commands = [["evaluate", str(tmp_path / "run")],
                ["play", str(tmp_path / "run"), "--agent", "mlp8"]]  # fmt: skip
    for command in commands:
        assert main([*command, "--episodes", "1", "--json"]) == 0
        out, err = capfd.readouterr()
        assert json.loads(out)["episodes"] == 1
        assert "hello from Python" in err and "hello from C" in err
    script = "import ctypes, sys; from rtpd.agents import zoo; from rtpd.cli.main import main; "
    script += "cards = zoo.catalogue; "
    script += "zoo.catalogue = lambda: (ctypes.CDLL(None).puts(b'from libc'), cards())[1]; "
    script += "sys.exit(main(['zoo', '--json']))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert json.loads(done.stdout)
    assert b"from libc" in done.stderr
