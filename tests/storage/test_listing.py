"""What `rtpd ls` says of runs."""

import json
import shutil

import pytest

from rtpd.cli.main import main
from rtpd.storage.listing import find, runs
from rtpd.storage.run_folder import Run, locked

FLAGS = """--preset double-dqn --num-envs 4 --steps 400 --log-steps 100 --checkpoint-steps 0
    --teacher.net mlp8 --students mlp4:kl --evaluation.final-episodes 2
    --replay.capacity 400 --replay.warmup-steps 100 --replay.batch-size 8""".split()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A finished run, and copies of it in other states."""
    path = tmp_path_factory.mktemp("runs")
    assert main(["train", "probe/endless", *FLAGS, "--quiet", "--out", str(path / "done")]) == 0
    for name, status in (("deep/gone", "running"), ("stopped", "interrupted")):
        shutil.copytree(path / "done", path / name)
        file = path / name / "manifest.json"
        about = json.loads(file.read_text()) | {"status": status}
        file.write_text(json.dumps(about))
    (path / "bad").mkdir()
    (path / "bad" / "manifest.json").write_text("{")
    return path


def states(folder):
    return {row["run"]: row["state"] for row in runs(folder)}


def test_every_run_is_found_with_its_state(folder):
    found = {"done": "finished", "deep/gone": "killed", "stopped": "interrupted", "bad": "damaged"}
    assert states(folder) == found
    with locked(folder / "deep/gone"):  # by this process: it runs
        assert states(folder) == found | {"deep/gone": "running"}


def test_scores_are_those_of_the_last_evaluation(folder):
    row = next(row for row in runs(folder) if row["run"] == "done")
    lines = Run.open(folder / "done").records()
    last = [line for line in lines if line["kind"] == "eval"][-1]["agents"]
    assert row["teacher"] == last["teacher"]["mean"]
    assert row["students"] == {"mlp4": last["mlp4"]["mean"]}
    assert row["env"] == "probe/endless" and row["step"] >= 400


def test_the_command_line_lists_them(folder, capsys):
    assert main(["ls", str(folder)]) == 0
    said = capsys.readouterr().out
    assert all(word in said for word in ("done", "killed", "100 %", "mlp4", "--resume"))
    assert main(["ls", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == runs(folder)
    assert main(["ls", str(folder / "none")]) == 2
    assert "none" in capsys.readouterr().err


def test_what_is_inside_of_a_run_is_not_another_run(tmp_path):
    for name in ("a", "a/b", "c/d"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "manifest.json").touch()
    assert sorted(find(tmp_path)) == [tmp_path / "a", tmp_path / "c/d"]
    assert find(tmp_path / "a") == [tmp_path / "a"]
