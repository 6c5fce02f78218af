"""Run folders: what they refuse, what they number, and records that outlive a crash."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from rtpd.errors import CheckpointError, RunError
from rtpd.storage.files import write_atomic, write_json
from rtpd.storage.run_folder import STARTING, Run, check_free, claim, next_folder

MANIFEST = {"config": {"env": "pong"}, "status": "running", "agents": {"teacher": {}, "net4": {}}}


@pytest.fixture
def run(tmp_path):
    return Run.create(tmp_path / "runs" / "pong-1", MANIFEST)


def save_agent(run, name):
    run.agent_path(name).write_bytes(b"weights")


def test_a_run_is_opened_as_it_was_created(run):
    opened = Run.open(run.path)
    assert opened.manifest == MANIFEST and opened.path == run.path
    assert opened.checkpoints.is_dir() and (run.path / "agents").is_dir()
    assert opened.agents == () and opened.records() == []


def test_an_empty_folder_may_become_a_run(tmp_path):
    assert Run.create(tmp_path, MANIFEST).path == tmp_path


def test_notes_are_kept(run):
    run.note(step=5, status="finished")
    assert Run.open(run.path).manifest == MANIFEST | {"step": 5, "status": "finished"}


def test_a_note_that_is_no_json_leaves_the_manifest_whole(run):
    with pytest.raises(ValueError, match="not JSON compliant"):
        run.note(loss=float("nan"))
    assert Run.open(run.path).manifest == MANIFEST


def test_a_crash_leaves_the_old_manifest_or_none(run, tmp_path, monkeypatch):
    def crash(source, target):
        raise OSError("power cut")

    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(OSError, match="power cut"):
        run.note(status="finished")
    assert Run.open(run.path).manifest == MANIFEST
    with pytest.raises(OSError, match="power cut"):
        Run.create(tmp_path / "new", MANIFEST)
    with pytest.raises(RunError, match=r"has no manifest\.json"):
        Run.open(tmp_path / "new")


@pytest.mark.parametrize("start", [Run.create, lambda path, manifest: check_free(path)])
def test_a_run_is_not_started_where_something_is(start, run, tmp_path):
    path = run.path
    with pytest.raises(RunError, match=r"already holds a run \(status: running\); .*--resume"):
        start(path, MANIFEST)
    run.note(status="finished")
    with pytest.raises(RunError, match=r"already holds a run \(status: finished\)$"):
        start(path, MANIFEST)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    with pytest.raises(RunError, match="full' is not empty: choose another --out"):
        start(tmp_path / "full", MANIFEST)
    assert os.listdir(tmp_path / "full") == ["thesis.txt"]
    (tmp_path / "file").write_text("mine")
    with pytest.raises(RunError, match="file' is a file: choose another --out"):
        start(tmp_path / "file", MANIFEST)
    with pytest.raises(RunError, match="file' is a file: choose another --out"):
        start(tmp_path / "file" / "below", MANIFEST)


@pytest.mark.parametrize("below", ["", "new", "new/newer"])
def test_a_folder_that_cannot_be_written_to_is_refused(below, tmp_path, monkeypatch):
    """By what the system says of it, since root may write anywhere."""
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)
    with pytest.raises(RunError, match=f"'{tmp_path}' cannot be written to: choose another --out"):
        Run.create(tmp_path / below, MANIFEST)
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(RunError, match="cannot be written to"):
        Run.create(tmp_path / "run", MANIFEST)


def test_checking_writes_nothing(tmp_path):
    check_free(tmp_path / "a" / "b")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("content", "error", "said"),
    [
        (None, RunError, "it has no manifest.json"),
        ("[]", RunError, "holds no config"),
        ("{}", RunError, "holds no config"),
        ('{"config": ', CheckpointError, "cannot read .*manifest.json"),
        ("", CheckpointError, "cannot read .*manifest.json"),
    ],
)
def test_a_folder_that_is_no_run_is_not_opened(content, error, said, tmp_path):
    if content is not None:
        (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(error, match=said) as caught:
        Run.open(tmp_path)
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["[]", "{}", "{", "1"])
def test_a_folder_with_an_odd_manifest_is_not_written_over(content, tmp_path):
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises((RunError, CheckpointError), match=str(tmp_path)):
        Run.create(tmp_path, MANIFEST)
    assert (tmp_path / "manifest.json").read_text() == content


def test_a_file_or_nothing_is_not_opened(tmp_path):
    (tmp_path / "file").write_text("")
    for name in ("file", "nothing"):
        with pytest.raises(RunError, match=f"{name}' is not a run folder: it is not a folder"):
            Run.open(tmp_path / name)


# ---- records -----------------------------------------------------------------------------------


def test_records_come_back_in_order(run):
    records = [{"step": 1, "kind": "train", "x": [1.5, None]}, {"step": 2, "kind": "eval"}]
    for record in records:
        run.append(record)
    assert run.records() == Run.open(run.path).records() == records


def test_what_is_not_finite_becomes_null(run):
    nan, inf = float("nan"), float("inf")
    run.append({"a": nan, "b": {"c": inf, "d": [-inf, 1.0, (nan, 2)]}, "e": "nan", "f": True})
    expected = {"a": None, "b": {"c": None, "d": [None, 1.0, [None, 2]]}, "e": "nan", "f": True}
    assert run.records() == [expected]
    assert "NaN" not in (run.path / "metrics.jsonl").read_text()


@pytest.mark.parametrize("rest", ['{"step": 3, "ki', "{", "\0\0\0"])
def test_a_line_that_a_crash_cut_short_is_passed_over(run, rest):
    run.append({"step": 1})
    run.append({"step": 2})
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write(rest)
    assert [r["step"] for r in run.records()] == [1, 2]
    run.cut(lambda record: record["step"] < 2)  # as when the run is resumed
    run.append({"step": 9})
    assert [r["step"] for r in run.records()] == [1, 9]


def test_whole_lines_after_a_damaged_one_are_kept(run):
    (run.path / "metrics.jsonl").write_text('{"step": 1}\n{"step"\n\n{"step": 3}\n')
    assert [r["step"] for r in run.records()] == [1, 3]


def test_cutting_keeps_what_is_asked_for(run):
    for step in range(5):
        run.append({"step": step, "text": "ü"})
    run.cut(lambda record: record["step"] % 2 == 0)
    assert run.records() == [{"step": step, "text": "ü"} for step in (0, 2, 4)]
    run.cut(lambda record: False)
    assert run.records() == []


# ---- agents and names --------------------------------------------------------------------------


def test_agents_come_in_the_order_of_the_manifest(run):
    for name in ("net4", "teacher", "stray"):
        save_agent(run, name)
    assert run.agents == ("teacher", "net4")
    run.agent_path("teacher").unlink()
    assert run.agents == ("net4",)


def test_an_unknown_agent_is_named_with_the_nearest(run):
    for name in MANIFEST["agents"]:
        save_agent(run, name)
    run.check_agents(("teacher", "net4"))
    with pytest.raises(RunError) as error:
        run.check_agents(("teacher", "net5"))
    said = f"{run.path}: unknown agent 'net5': did you mean 'net4'? allowed: teacher, net4"
    assert str(error.value) == said


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        ((), "pong-1"),
        (("pong-1",), "pong-2"),
        (("pong-2", "pong-9", "pong-10"), "pong-11"),  # by number; no gap is filled
        (("pong-cpu", "pong-3-old", "breakout-7", "pong", "pong-"), "pong-1"),
    ],
)
def test_folders_are_numbered(there, expected, tmp_path):
    for name in there:
        (tmp_path / name).mkdir()
    assert next_folder(tmp_path, "pong") == tmp_path / expected


def test_the_first_folder_needs_no_parent(tmp_path):
    assert next_folder(tmp_path / "runs", "pong") == tmp_path / "runs" / "pong-1"


# ---- beginnings --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "remains",
    [
        [".lock"],
        [".lock", ".manifest.json.0a1b2c3d.tmp"],
        [".lock", "agents/", "checkpoints/"],
        [".lock", "manifest.json", "agents/", "agents/.teacher.safetensors.0a1b2c3d.tmp"],
        [".lock", "manifest.json", "agents/", "agents/old.safetensors", "checkpoints/"],
    ],
)
def test_a_folder_in_which_a_run_was_killed_at_its_very_start_is_free(tmp_path, remains):
    path = tmp_path / "run"
    path.mkdir()
    for name in remains:
        if name == "manifest.json":
            write_json(path / name, MANIFEST | {"status": STARTING})
        elif name.endswith("/"):
            (path / name).mkdir()
        else:
            (path / name).touch()
    check_free(path)
    Run.create(path, MANIFEST)
    found = {str(p.relative_to(path)) for p in path.rglob("*")}
    assert found == {".lock", "manifest.json", "agents", "checkpoints"}


def test_the_manifest_is_the_first_of_a_run_that_is_seen(tmp_path, monkeypatch):
    def crash(path, mode=0o777):
        raise OSError("power cut")

    (tmp_path / "run").mkdir()
    monkeypatch.setattr(os, "mkdir", crash)
    with pytest.raises(OSError, match="power cut"):
        Run.create(tmp_path / "run", MANIFEST)
    assert Run.open(tmp_path / "run").manifest == MANIFEST


def test_of_many_that_start_a_run_at_the_same_instant_each_has_a_folder_of_its_own(tmp_path):
    gate = threading.Barrier(16)

    def start(_):
        gate.wait()
        return claim(tmp_path / "runs", "pong")

    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(start, range(16)))
    assert len(set(found)) == 16 and all(path.is_dir() for path in found)


def test_files_that_are_written_at_the_same_instant_are_whole(tmp_path):
    texts = [bytes([65 + i]) * 2**20 for i in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(partial(write_atomic, tmp_path / "x"), texts))
    assert (tmp_path / "x").read_bytes() in texts
    assert os.listdir(tmp_path) == ["x"]


def test_what_a_crash_has_left_is_removed_under_the_lock_and_nothing_else(run):
    (run.path / "agents" / "pong").mkdir()
    left = [
        ".manifest.json.0a1b2c3d.tmp", "agents/.net4.json.0a1b2c3d.tmp",
        "agents/pong/.net4.safetensors.0a1b2c3d.tmp", "checkpoints/.0000000400.tmp/a.zlib",
        "checkpoints/0000000200/a.zlib",
    ]  # fmt: skip
    kept = [
        "notes.txt", "agents/net4.safetensors", ".hidden", "checkpoints/0000000300/sha256.json",
        "checkpoints/notes/a.txt", "tensorboard/.x.tmp",
    ]  # fmt: skip
    for name in (*left, *kept):
        (run.path / name).parent.mkdir(exist_ok=True)
        (run.path / name).write_text("x")
    run.tidy()
    assert not any((run.path / name).exists() for name in left)
    assert all((run.path / name).exists() for name in kept)
    assert not (run.path / "checkpoints" / "0000000200").exists()
