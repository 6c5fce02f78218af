"""What goes wrong is really made to: signals, full disks, second processes, faulty emulators."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import cache
from pathlib import Path

import gymnasium
import jax.numpy as jnp
import numpy as np
import pytest

from rtpd.cli.main import main
from rtpd.config.loading import from_dict
from rtpd.config.settings import Config, EvaluationConfig, ReplayConfig, TeacherConfig
from rtpd.errors import CheckpointError, DivergedError, RunError
from rtpd.storage import checkpoint
from rtpd.storage.files import sha256
from rtpd.storage.run_folder import LOCK, Run, locked
from rtpd.training import divergence
from rtpd.training.monitor import Monitor
from rtpd.training.train import resume, train

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
import soak_calls

pytestmark = pytest.mark.xdist_group("faults")  # its runs are made once, by one worker
TINY = Config(
    env="gym/CartPole-v1",
    students=("mlp8:kl",),
    steps=600,
    log_steps=96,  # no divisor of any checkpoint's step
    checkpoint_steps=200,
    teacher=TeacherConfig(net="mlp16-16"),
    replay=ReplayConfig(capacity=800, warmup_steps=100),
    evaluation=EvaluationConfig(period_steps=240, episodes=1, final_episodes=1),
)
FLAGS = [
    "gym/CartPole-v1", "--preset", "double-dqn", "--students", "mlp8:kl",
    "--teacher.net", "mlp16-16", "--log-steps", "96", "--checkpoint-steps", "200",
    "--replay.capacity", "800",
    "--replay.warmup-steps", "100", "--evaluation.period-steps", "240",
    "--evaluation.episodes", "1",
]  # fmt: skip


def outcome(path):
    """Weights and metrics without the wall clock."""
    clock = ("seconds", "steps_per_second")
    agents = {p.name: p.read_bytes() for p in (path / "agents").glob("*.safetensors")}
    records = [{k: v for k, v in r.items() if k not in clock} for r in Run.open(path).records()]
    return agents, sorted(records, key=lambda r: (r["step"], r["kind"]))


def steps_saved(path):
    return [int(p.name) for p in checkpoint.newest(path / "checkpoints")]


def one_line(capsys):
    error = capsys.readouterr().err
    assert error.count("\n") == 1, error
    return error


class Faulty(gymnasium.Env):
    """Two states; after so many steps, of all envs together, `fault` says what is wrong."""

    observation_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)
    steps, faulty_from, faulty_to, fault = 0, 0, 0, ""

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(2, np.float32), {}

    def step(self, action):
        Faulty.steps += 1
        faulty = Faulty.faulty_from <= Faulty.steps < Faulty.faulty_to
        if faulty and Faulty.fault == "raises":
            raise RuntimeError("the emulator has crashed")
        reward = float("nan") if faulty else float(action)
        frame = self.np_random.uniform(-1, 1, 2).astype(np.float32)
        return frame, reward, bool(self.np_random.random() < 0.1), False, {}


@pytest.fixture
def faulty(monkeypatch):
    """A function that says what goes wrong, and from which to which step."""
    if "RtpdFaulty-v0" not in gymnasium.registry:
        gymnasium.register("RtpdFaulty-v0", lambda: Faulty(), disable_env_checker=True)

    def settle(fault, first, last=10**9):
        for name, value in {
            "steps": 0, "fault": fault, "faulty_from": first, "faulty_to": last,
        }.items():  # fmt: skip
            monkeypatch.setattr(Faulty, name, value)
        monkeypatch.setattr("rtpd.training.trainer.random_scores", lambda games, *_, **__: {})
        # A value that is no number is stopped at the border: here it is what a loss may become.
        monkeypatch.setattr("rtpd.envs.gym.GymEnv._checked", lambda self, timestep: timestep)
        evaluation = EvaluationConfig(period_steps=0, episodes=1, final_episodes=1)
        return replace(TINY, env="gym/RtpdFaulty-v0", evaluation=evaluation)

    return settle


# ---- two processes -----------------------------------------------------------------------------


def test_a_second_process_is_refused_until_the_first_is_dead(path, capsys):
    hold = "from rtpd.storage.run_folder import locked\nfrom pathlib import Path\nimport time\n"
    hold += f"with locked(Path({str(path)!r})): print('held', flush=True); time.sleep(600)"
    holder = subprocess.Popen([sys.executable, "-c", hold], stdout=subprocess.PIPE)
    try:
        assert holder.stdout.readline() == b"held\n"
        before = outcome(path)
        assert main(["train", "--resume", str(path), "--steps", "700"]) == 2
        said = one_line(capsys)
        assert f"'{path}' is being written by process {holder.pid} on " in said
        with pytest.raises(RunError, match="already holds a run"):
            train(TINY, out=path)
        assert outcome(path) == before
        assert main(["evaluate", str(path), "--episodes", "1", "--json"]) == 0
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
    assert (path / LOCK).exists()
    assert resume(path, steps=640)["status"] == "finished"


def test_of_two_that_start_a_run_in_one_folder_the_second_is_refused(tmp_path):
    path = tmp_path / "run"
    with locked(path), pytest.raises(RunError, match=f"being written by process {os.getpid()}"):
        train(TINY, out=path)
    assert os.listdir(path) == [LOCK]
    train(TINY, out=path)


# ---- stopped from outside ----------------------------------------------------------------------


def launch(path, *more):
    return subprocess.Popen(
        [sys.executable, "-m", "rtpd", "train", *FLAGS, "--out", str(path), *more],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env=os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip


def wait_for(process, text, times=1):
    for line in process.stdout:
        times -= text in line
        if not times:
            return
    raise AssertionError(f"'{text}' was never said")


@pytest.mark.parametrize(
    ("phase", "number", "steps"),
    [
        ("warm-up", signal.SIGTERM, 10**6),
        ("compiling", signal.SIGINT, 10**6),
        ("training", signal.SIGTERM, 10**6),
        ("saving a checkpoint", signal.SIGINT, 10**6),
        ("final evaluation", signal.SIGTERM, 600),
    ],
)
def test_a_signal_in_any_phase_leaves_a_run_to_go_on_with(tmp_path, phase, number, steps):
    path = tmp_path / "run"
    episodes = ["--evaluation.final-episodes", "10000"]
    process = launch(path, "--steps", str(steps), *episodes)
    wait_for(process, phase)
    process.send_signal(number)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130, output
    assert "Traceback" not in output
    if phase != "final evaluation":  # which ends without a summary: all has been saved before
        assert f"rtpd train --resume {path}" in output
    run = Run.open(path)
    assert run.manifest["status"] == "interrupted"
    reached = steps_saved(path)[0]
    assert not list(path.glob("**/*.tmp"))
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["config"]["evaluation"]["final_episodes"] = 1
    (path / "manifest.json").write_text(json.dumps(manifest))
    summary = resume(path, steps=max(reached + 80, 600))
    assert summary["status"] == "finished" and summary["step"] >= reached
    assert len([r for r in run.records() if r["kind"] == "eval" and r["step"] == 600]) <= 1


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What comes of a run that is never stopped: of settings, and the same for equal ones."""

    @cache
    def run(settings):
        path = tmp_path_factory.mktemp("whole") / "run"
        train(settings, out=path)
        return outcome(path)

    return run


@pytest.mark.parametrize("saves", [1, 3])
def test_a_killed_run_ends_as_one_that_was_never_stopped(tmp_path, saves, whole):
    final = ["--steps", "800", "--evaluation.final-episodes", "1"]
    process = launch(tmp_path / "killed", *final)
    wait_for(process, "saving a checkpoint", saves)
    process.kill()
    process.communicate()
    resume(tmp_path / "killed")
    settings = Run.open(tmp_path / "killed").manifest["config"]
    assert outcome(tmp_path / "killed") == whole(from_dict(settings))


@pytest.mark.skipif(sys.platform != "linux", reason="it asks /proc where a call writes")
@pytest.mark.parametrize(("number", "when"), [(1, "after"), (3, "after"), (30, "before")])
def test_a_run_killed_at_a_call_that_writes_leaves_nothing_behind(tmp_path, number, when, whole):
    """A sample of scripts/soak_calls.py: the folder, its manifest, the middle of a checkpoint."""
    path = tmp_path / "killed"
    assert soak_calls.broken(path, number, when, tmp_path / "calls")
    assert main(soak_calls.go_on(path)) == 0
    settings = Run.open(path).manifest["config"]
    assert outcome(path) == whole(from_dict(settings))
    assert not [name for name in soak_calls.names(path) if ".tmp" in name]
    saved = list((path / "checkpoints").iterdir())
    assert len(saved) == 2 and all((folder / "sha256.json").exists() for folder in saved)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits another process")
def test_a_run_that_gets_no_more_memory_goes_on_from_its_checkpoint(tmp_path, whole):
    final = ["--steps", "800", "--evaluation.final-episodes", "1"]
    process = launch(tmp_path / "starved", *final)
    wait_for(process, "saving a checkpoint")
    taken = int(Path(f"/proc/{process.pid}/statm").read_text().split()[0]) * resource.getpagesize()
    resource.prlimit(process.pid, resource.RLIMIT_AS, (taken, taken))
    output, _ = process.communicate(timeout=120)
    if not process.returncode:
        pytest.skip("it had compiled its first evaluation, and needed no more memory")
    # 1 where Python was refused memory; where the compiler was, it aborts the process.
    assert process.returncode in (1, -signal.SIGABRT), output
    assert "Traceback" not in output
    resume(tmp_path / "starved")
    settings = Run.open(tmp_path / "starved").manifest["config"]
    assert outcome(tmp_path / "starved") == whole(from_dict(settings))


def test_a_clock_that_goes_backwards_does_not_show(tmp_path, monkeypatch):
    now = iter(range(2 * 10**9, 0, -3600))
    monkeypatch.setattr(time, "time", lambda: float(next(now)))
    train(TINY, out=tmp_path / "run")
    seconds = [r["seconds"] for r in Run.open(tmp_path / "run").records() if r["kind"] == "train"]
    assert seconds == sorted(seconds) and seconds[0] > 0


# ---- faulty parts ------------------------------------------------------------------------------


def test_an_emulator_that_throws_ends_the_run_and_not_its_checkpoint(tmp_path, faulty, capsys):
    settings, path = faulty("raises", 500), tmp_path / "run"
    with pytest.raises(RuntimeError, match="the emulator has crashed"):
        train(settings, out=path)
    assert Run.open(path).manifest["status"] == "failed"
    assert steps_saved(path) == [400, 200]
    Faulty.steps = 500 - 8
    assert main(["train", "--resume", str(path), "--quiet"]) == 1
    assert "the emulator has crashed" in one_line(capsys)
    faulty("", 0, 0)
    assert resume(path)["status"] == "finished"


def test_a_loss_that_is_no_number_stops_the_run_before_it_is_saved(tmp_path, faulty, capsys):
    path = tmp_path / "run"
    with pytest.raises(DivergedError, match=r"teacher has diverged: step \d+, loss nan; --on-div"):
        train(faulty("nan", 420), out=path)
    assert Run.open(path).manifest["status"] == "failed"
    assert steps_saved(path) == [400, 200]
    Faulty.steps = 420
    assert main(["train", "--resume", str(path), "--quiet"]) == 1
    assert "teacher has diverged" in one_line(capsys)
    faulty("", 0, 0)
    assert resume(path)["status"] == "finished"


def test_weights_that_are_no_numbers_are_not_saved_whatever_the_losses_say(
    tmp_path, faulty, monkeypatch
):
    monkeypatch.setattr(divergence, "check_losses", lambda step, rows: None)
    with pytest.raises(DivergedError, match="teacher has diverged: step 600, weights that are not"):
        train(faulty("nan", 420), out=tmp_path / "run")
    assert steps_saved(tmp_path / "run") == [400, 200]


def test_a_run_rolls_back_and_goes_on_with_half_the_rates(tmp_path, faulty):
    path = tmp_path / "run"
    settings = replace(faulty("nan", 420, 440), on_divergence="rollback")
    assert train(settings, out=path)["status"] == "finished"
    manifest = Run.open(path).manifest
    (entry,) = manifest["rollbacks"]
    assert entry["step"] == 400 and "teacher has diverged" in entry["why"]
    rate = settings.teacher.optimizer.learning_rate / 2
    assert entry["teacher_learning_rate"] == rate
    assert manifest["config"]["teacher"]["optimizer"]["learning_rate"] == rate
    records = Run.open(path).records()
    assert [r["step"] for r in records if r["kind"] == "rollback"] == [400]
    losses = [r["teacher"]["loss"] for r in records if r["kind"] == "train" and r["step"] > 100]
    assert all(loss is not None for loss in losses)
    resume(path, steps=800)
    assert [r["kind"] for r in Run.open(path).records()].count("rollback") == 1


def test_a_run_does_not_roll_back_for_ever(tmp_path, faulty):
    settings = replace(faulty("nan", 420), on_divergence="rollback")
    with pytest.raises(DivergedError, match="rolled back 3 times already"):
        train(settings, out=tmp_path / "run")
    assert len(Run.open(tmp_path / "run").manifest["rollbacks"]) == divergence.MOST_ROLLBACKS == 3


def test_weights_and_losses_are_judged():
    good = {"net": jnp.ones(3), "name": "x"}
    divergence.check_weights(5, {"teacher": good})
    for bad in (jnp.nan, jnp.inf):
        with pytest.raises(DivergedError, match="net4 has diverged: step 5, weights"):
            divergence.check_weights(5, {"teacher": good, "net4": {"net": jnp.array([1.0, bad])}})
    divergence.check_losses(5, {"teacher": {"loss": 1e6}, "net4": {"agreement": 1.0}})
    for bad in (float("nan"), float("inf"), 1e13):
        with pytest.raises(DivergedError, match="net4 has diverged: step 5, loss"):
            divergence.check_losses(5, {"teacher": {"loss": 0.1}, "net4": {"loss": bad}})


# ---- disks -------------------------------------------------------------------------------------


@pytest.fixture
def disk(tmp_path):
    """A small file system of its own, and a function that mounts it again with other options."""
    path = tmp_path / "disk"
    path.mkdir()

    def mount(options):
        return subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "none", str(path)], capture_output=True
        ).returncode

    if os.geteuid() != 0 or mount("size=400k"):
        pytest.skip("only root may mount a file system")
    yield path, mount
    subprocess.run(["umount", "-l", str(path)], check=True)


def test_a_full_disk_loses_nothing_that_was_saved(disk, capsys):
    path, mount = disk[0] / "run", disk[1]
    ballast = disk[0] / "ballast"
    train(replace(TINY, steps=200), out=path)
    before = outcome(path)
    with pytest.raises(OSError, match="No space left"), ballast.open("wb") as file:
        while True:
            file.write(bytes(4096))
            file.flush()
    assert main(["train", "--resume", str(path), "--steps", "600", "--quiet"]) == 1
    assert "No space left" in one_line(capsys)
    assert not list((path / "checkpoints").glob(".*"))
    assert steps_saved(path) == [200]
    assert outcome(path)[0] == before[0]
    ballast.unlink()
    assert resume(path, steps=600)["status"] == "finished"
    assert not mount("remount,ro")
    assert main(["train", "--resume", str(path), "--steps", "800"]) == 1
    assert "Read-only file system" in one_line(capsys)
    assert main(["evaluate", str(path), "--episodes", "1", "--json"]) == 0


def test_a_checkpoint_of_other_settings_is_refused_in_one_line(path):
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["config"]["teacher"]["net"] = "mlp8"
    (path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match=r"no checkpoint to go on from: .*0000000600"):
        resume(path, steps=800)
    assert steps_saved(path) == [600, 400]


# ---- whose a checkpoint is ---------------------------------------------------------------------


class Listener(Monitor):
    def __init__(self):
        self.said = ""

    def warn(self, text):
        self.said += text + "\n"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """Two finished runs that differ in their seed alone; copy them to change them."""
    folder = tmp_path_factory.mktemp("tiny")
    for seed in (0, 1):
        train(replace(TINY, seed=seed), out=folder / f"seed-{seed}")
    return folder


@pytest.fixture
def path(tiny, tmp_path):
    return shutil.copytree(tiny / "seed-0", tmp_path / "run")


def change(path, key, value):
    manifest = json.loads((path / "manifest.json").read_text())
    *parts, last = key.split(".")
    table = manifest
    for part in parts:
        table = table[part]
    table[last] = value
    (path / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("config.teacher.gamma", 0.9, "saved with teacher.gamma = 0.99, the run has 0.9 now"),
        ("config.seed", 1, "saved with seed = 0, the run has 1 now"),
        (
            "config.teacher.algorithm",
            "dqn",
            "saved with teacher.algorithm = 'double-dqn', the run has 'dqn' now",
        ),
        ("config.students", ["mlp8:mse"], "mlp8:mse"),
        ("config.teacher.optimizer.learning_rate", 1.25e-4, "learning_rate"),
        ("id", "0" * 32, "is a checkpoint of another run"),
    ],
)
def test_a_run_does_not_go_on_with_other_settings_than_its_checkpoint_s(path, key, value, said):
    change(path, key, value)
    with pytest.raises(CheckpointError, match="holds no checkpoint to go on from") as error:
        resume(path, steps=640)
    assert said in str(error.value)
    assert steps_saved(path) == [600, 400]


def test_what_may_change_on_purpose_does_not_keep_a_run_from_going_on(path):
    change(path, "config.evaluation.final_episodes", 2)
    summary = resume(path, steps=640, minutes=30, on_divergence="rollback")
    assert (summary["status"], summary["step"]) == ("finished", 640)


@pytest.mark.parametrize("name", ["0000000600", "99999999999999999999"])
def test_a_checkpoint_of_another_run_is_named_and_takes_no_place(tiny, path, name):
    saved = path / "checkpoints"
    if name == "0000000600":
        shutil.rmtree(saved / name)
    shutil.copytree(tiny / "seed-1" / "checkpoints" / "0000000600", saved / name)
    listener = Listener()
    assert resume(path, steps=1000, monitor=listener)["status"] == "finished"
    assert f"{name} is a checkpoint of another run" in listener.said
    assert steps_saved(path)[-2:] == [1000, 800]


def test_a_checkpoint_under_the_name_of_another_step_is_not_taken(path):
    saved = path / "checkpoints"
    os.rename(saved / "0000000600", saved / "0000000700")
    listener = Listener()
    assert resume(path, steps=640, monitor=listener)["status"] == "finished"
    assert "0000000700 was saved at step 600, not at that of its name" in listener.said


@pytest.mark.parametrize("progress", [{}, {"step": "600"}, {"step": 600, "learn_from": -1}, 7])
def test_the_progress_of_a_checkpoint_is_checked(path, progress):
    for folder in checkpoint.newest(path / "checkpoints"):
        meta = json.loads((folder / "meta.json").read_text())
        meta["user"]["progress"] = progress
        (folder / "meta.json").write_text(json.dumps(meta))
        digests = json.loads((folder / "sha256.json").read_text())
        digests["meta.json"] = sha256((folder / "meta.json").read_bytes())
        (folder / "sha256.json").write_text(json.dumps(digests))
    with pytest.raises(CheckpointError, match="holds no checkpoint to go on from"):
        resume(path, steps=640)


# ---- metrics -----------------------------------------------------------------------------------


@pytest.mark.parametrize("keep", [None, 0, 3])
def test_metrics_that_are_missing_are_said_to_be(path, keep):
    file = path / "metrics.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    file.unlink() if keep is None else file.write_text("".join(lines[:keep]))
    listener = Listener()
    resume(path, steps=640, monitor=listener)
    assert listener.said.count("\n") == 1
    told = f"metrics.jsonl has {keep or 0} of the {len(lines) - 1} lines that were written up to"
    assert told in listener.said  # without the final evaluation, which comes after
    again = Listener()
    resume(path, steps=680, monitor=again)
    assert not again.said


def test_metrics_reach_the_disk_before_the_checkpoint_that_counts_on_them(tmp_path, monkeypatch):
    order, save, sync = [], checkpoint.save, Run.sync
    monkeypatch.setattr(Run, "sync", lambda run: (order.append("metrics"), sync(run)))
    monkeypatch.setattr(checkpoint, "save", lambda *args: (order.append("save"), save(*args)))
    train(replace(TINY, steps=200), out=tmp_path / "run")
    assert order == ["metrics", "save"]
