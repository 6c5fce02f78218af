"""What trackers are told: every number, each step once, and nothing that changes the training."""

import os
import subprocess
import sys

import pytest
from tensorboardX.proto import event_pb2

from rtpd.cli.main import main
from rtpd.storage.run_folder import Run
from rtpd.training.trackers import trackers

FLAGS = """--preset double-dqn --num-envs 4 --steps 400 --log-steps 100 --checkpoint-steps 0
    --teacher.net mlp8 --students mlp4:kl --evaluation.final-episodes 2
    --replay.capacity 400 --replay.warmup-steps 100 --replay.batch-size 8""".split()


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """A run that no tracker is told of."""
    path = tmp_path_factory.mktemp("runs") / "alone"
    assert main(["train", "probe/endless", *FLAGS, "--quiet", "--out", str(path)]) == 0
    return path


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "trackio"])
def test_a_tracker_is_told_every_number_and_training_is_the_same(name, tmp_path, alone):
    pytest.importorskip({"tensorboard": "tensorboardX"}.get(name, name))
    run = tmp_path / "run"
    command = ["train", "probe/endless", *FLAGS, "--quiet", "--out", run, "--track", name]
    done = subprocess.run(
        [sys.executable, "-m", "rtpd", *command], cwd=tmp_path, capture_output=True, text=True,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = b"".join(p.read_bytes() for p in (run / name).rglob("*") if p.is_file())
    for path in ("train/students/mlp4/agreement", "eval/agents/teacher/mean"):
        assert path.encode() in told, path
    kept = [p / "agents/mlp4.safetensors" for p in (run, alone)]
    assert kept[0].read_bytes() == kept[1].read_bytes()
    assert {p.name for p in tmp_path.iterdir()} == {"run"}


def test_a_tracker_that_is_not_there_is_told_before_anything_starts(tmp_path, capsys, monkeypatch):
    out = str(tmp_path / "run")
    assert main(["train", "probe/endless", "--out", out, "--track", "tensorbord"]) == 2
    assert "did you mean 'tensorboard'" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "wandb", None)
    assert main(["train", "probe/endless", "--out", out, "--track", "wandb"]) == 2
    assert "pip install wandb" in capsys.readouterr().err
    assert not any(p.name != ".lock" for p in tmp_path.rglob("*") if p.is_file())


def test_a_tracker_has_each_step_once_after_a_resume(tmp_path):
    run = Run.create(tmp_path / "run", {"config": {}, "agents": {}})

    def tell(steps):
        (tracker,) = trackers(("tensorboard",))
        tracker.start({"run": str(run.path)})
        for step in steps:
            run.append(record := {"kind": "train", "step": step, "teacher": {"return": 1.0}})
            tracker.record(record)
        tracker.close()

    tell([10, 20, 30])
    run.cut(lambda record: record["step"] <= 10)  # the last checkpoint
    tell([20, 30, 40])
    (events,) = (run.path / "tensorboard").glob("events.*")
    found, data = [], events.read_bytes()
    while data:  # of a record: its length, a checksum, itself, a checksum
        size = int.from_bytes(data[:8], "little")
        event = event_pb2.Event.FromString(data[12 : 12 + size])
        found += [event.step for _ in event.summary.value]
        data = data[16 + size :]
    assert found == [10, 20, 30, 40]
