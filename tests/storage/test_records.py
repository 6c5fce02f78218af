"""The lines of metrics.jsonl: readers get what the writer wrote, in this version or before."""

import json
import os
import tempfile
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtpd.errors import CheckpointError
from rtpd.storage import lines
from rtpd.storage.follower import Follower
from rtpd.storage.records import (
    METRICS,
    AgentMetrics,
    EvalRecord,
    RollbackRecord,
    Score,
    TrainRecord,
    parse_record,
    read_records,
)

RESULTS = Path(__file__).parents[2] / "results"
TRAIN = TrainRecord(
    step=200, frames=800, seconds=1.5, steps_per_second=133.3, epsilon=0.5, updates=7, episodes=3,
    teacher=AgentMetrics(loss=0.5, q=1.0, played=None),
    students={"net1.7": AgentMetrics(loss=0.1, advantage_kept=0.9)},
)  # fmt: skip
EVAL = EvalRecord(
    step=200, seconds=1.5, agents={"teacher": Score(mean=2.0, episodes=2, returns=[1.0, 3.0])}
)
ROLLBACK = RollbackRecord(
    why="loss", teacher_learning_rate=0.1, student_learning_rate=0.2, step=100, at="now", steps=9
)


def line(record):
    return json.dumps(msgspec.to_builtins(record)).encode() + b"\n"


def test_the_lines_are_these():
    several = TrainRecord(
        step=1, consolidating=True, teachers={"pong/teacher": AgentMetrics(q=1.0, played=3.0)}
    )
    assert [json.loads(line(record)) for record in (TRAIN, several, EVAL, ROLLBACK)] == [
        {
            "kind": "train", "step": 200, "frames": 800, "seconds": 1.5, "steps_per_second": 133.3,
            "epsilon": 0.5, "updates": 7, "episodes": 3,
            "teacher": {"loss": 0.5, "q": 1.0, "return": None},
            "students": {"net1.7": {"loss": 0.1, "advantage_kept": 0.9}},
        },
        {
            "kind": "train", "step": 1, "frames": None, "seconds": 0.0, "steps_per_second": None,
            "epsilon": None, "updates": None, "episodes": None, "consolidating": True,
            "teachers": {"pong/teacher": {"q": 1.0, "return": 3.0}}, "students": {},
        },
        {
            "kind": "eval", "step": 200, "seconds": 1.5,
            "agents": {
                "teacher": {
                    "episodes": 2, "mean": 2.0, "standard_error": None, "median": None,
                    "human_normalised": None, "percent_of_teacher": None, "percent_interval": None,
                    "returns": [1.0, 3.0], "cut_off": 0,
                }
            },
        },
        {
            "kind": "rollback", "why": "loss", "teacher_learning_rate": 0.1,
            "student_learning_rate": 0.2, "step": 100, "at": "now", "steps": 9,
        },
    ]  # fmt: skip


@pytest.mark.parametrize("record", [TRAIN, EVAL, ROLLBACK])
def test_what_is_written_is_what_is_read(record):
    assert parse_record(line(record)) == record


def test_a_metric_that_is_not_in_the_schema_is_not_dropped_in_silence():
    with pytest.raises(TypeError, match="surprise"):
        AgentMetrics(surprise=1.0)


def test_a_return_that_is_not_known_yet_differs_from_none_at_all():
    assert msgspec.to_builtins(AgentMetrics(played=None)) == {"return": None}
    assert msgspec.to_builtins(AgentMetrics()) == {}
    assert AgentMetrics(played=None).mean_return is AgentMetrics().mean_return is None
    assert AgentMetrics(played=0.0).mean_return == 0.0


def is_within(part, whole):
    """Whether JSON says all that another does, apart from what the other lacks."""
    if isinstance(part, dict):
        return all(key in whole and is_within(value, whole[key]) for key, value in part.items())
    return part == whole


def test_nothing_is_lost_of_the_lines_of_earlier_versions():
    found = sorted(RESULTS.rglob(METRICS))
    assert len(found) > 20
    for file in found:
        lines = file.read_bytes().splitlines()
        records = [record for _, record in read_records(file, strict=True)]
        assert len(records) == len(lines)
        for text, record in zip(lines, records, strict=True):
            read = msgspec.to_builtins(record)
            read = json.loads(json.dumps(read))  # tuples as lists
            assert is_within(json.loads(text), read), text


def test_fields_that_are_missing_have_defaults_and_others_are_ignored():
    found = parse_record(b'{"kind": "train", "step": 5, "later": [1], "teacher": {"x": 2}}')
    assert found == TrainRecord(step=5, teacher=AgentMetrics())
    assert set(found.agents) == {"teacher"}
    assert parse_record(b'{"kind": "train", "step": 5, "teacher": null}').agents == {}
    assert parse_record(b'{"kind": "later", "x": 1}') is None


BAD = (
    b"", b"\n", b"{", b"[1]", b"null", b"0", b"[" * 5000, b'{"x":' * 100_000, b'{"kind": 1}',
    b'{"kind": "train"}', b'{"kind": "train", "step": -1}', b'{"kind": "train", "step": 1e99}',
    b'{"kind": "train", "step": 1, "seconds": NaN}', b'{"kind": "eval", "step": 1}',
    b'{"kind": "eval", "step": 1, "agents": {"a": {"mean": null}}}',
    b'{"kind": "train", "\xff": 1}',
    b'{"kind": "train", "step": 5, "students": {"a": {"advantage_kept": "x"}}}',
)  # fmt: skip


@pytest.mark.parametrize("text", BAD, ids=lambda text: repr(text[:40]))
def test_a_line_that_is_no_record_is_passed_over_or_named(tmp_path, text):
    with pytest.raises(ValueError, match=r"^[^\n]+$"):
        parse_record(text)
    file = tmp_path / METRICS
    file.write_bytes(line(TRAIN) + text.rstrip() + b"\n" + line(EVAL))
    assert [record for _, record in read_records(file)] == [TRAIN, EVAL]
    assert [number for number, _ in read_records(file)] == [1, 3]
    with pytest.raises(CheckpointError, match=r"metrics.jsonl' is damaged: line 2: "):
        list(read_records(file, strict=True))


def test_the_last_line_may_still_be_being_written(tmp_path):
    file = tmp_path / METRICS
    for end in (b'{"kind": "ev', line(EVAL)[:-1]):
        file.write_bytes(line(TRAIN) + end)
        for strict in (False, True):
            found = [record for _, record in read_records(file, strict=strict)]
            assert found == ([TRAIN] if b"mean" not in end else [TRAIN, EVAL])
    file.unlink()
    assert list(read_records(file, strict=True)) == []


@pytest.mark.parametrize("read", [read_records, lambda file: Follower(file).read()])
def test_too_many_lines_that_are_none_are_no_file_of_records(tmp_path, monkeypatch, read):
    file = tmp_path / METRICS
    file.write_bytes(b"x\n" * lines.MOST_ODD_LINES + line(TRAIN))
    assert len(list(read(file))) == 1
    file.write_bytes(b"x\n" * (lines.MOST_ODD_LINES + 1) + line(TRAIN))
    with pytest.raises(CheckpointError, match="1,000 lines that are no records"):
        list(read(file))
    monkeypatch.setattr(lines, "MOST_LINES", 3)
    file.write_bytes(line(TRAIN) * 4)
    with pytest.raises(CheckpointError, match="3 in all"):
        list(read(file))


# ---- a file that grows -------------------------------------------------------------------------


@given(st.lists(st.binary(max_size=12), max_size=8), st.lists(st.integers(1, 30), max_size=30))
def test_every_whole_line_is_read_once_however_the_file_grows(texts, sizes):
    records = [
        TrainRecord(step=i, students={text.hex(): AgentMetrics()}) for i, text in enumerate(texts)
    ]
    data = b"".join(map(line, records)) + b'{"kind": "tra'
    with tempfile.TemporaryDirectory() as folder:
        path, found = Path(folder, METRICS), []
        follower = Follower(path)
        for size in (*sizes, len(data)):
            found += follower.read()
            with path.open("ab") as file:
                file.write(data[:size])
            data = data[size:]
        assert found + list(follower.read()) == records
        assert list(follower.read()) == [] and not follower.restarted
        Path(folder, "cut").write_bytes(line(EVAL))
        Path(folder, "cut").replace(path)
        assert list(follower.read()) == [EVAL]


def test_a_file_that_is_cut_back_and_grows_past_its_length_is_read_anew(tmp_path):
    file, steps = tmp_path / METRICS, [TrainRecord(step=i) for i in range(9)]
    follower = Follower(file)
    file.write_bytes(b"".join(map(line, steps[:3])))
    assert list(follower.read()) == steps[:3]
    before = follower.version
    file.write_bytes(b"".join(map(line, steps[4:])))
    assert list(follower.read()) == steps[4:]
    assert follower.restarted and follower.version != before
    file.unlink()
    assert list(follower.read()) == [] and follower.restarted and follower.written is None


def test_a_follower_that_gave_up_goes_on_giving_up_until_there_is_another_file(tmp_path):
    file = tmp_path / METRICS
    follower = Follower(file)
    file.write_bytes(b"x\n" * (lines.MOST_ODD_LINES + 1))
    for _ in range(2):
        with pytest.raises(CheckpointError):
            list(follower.read())
    file.write_bytes(line(TRAIN))
    assert list(follower.read()) == [TRAIN]


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("elsewhere", path)])
def test_what_is_no_plain_file_is_not_followed(tmp_path, make):
    (tmp_path / "elsewhere").write_bytes(line(TRAIN))
    make(tmp_path / METRICS)
    assert list(Follower(tmp_path / METRICS).read()) == []
