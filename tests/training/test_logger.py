"""What a run tells: rates and means of the lines, and a word about collapsed students."""

import json

import pytest

from rtpd.agents.episodes import Episodes
from rtpd.config.settings import Config, TeacherConfig
from rtpd.storage.run_folder import Run
from rtpd.training import health as room
from rtpd.training.logger import RunLogger
from rtpd.training.monitor import Monitor
from rtpd.types import Timestep

WELL = {
    "loss": 0.1, "advantage_kept": 0.9, "constant_advantage_kept": 0.4,
    "agreement": 0.9, "constant_agreement": 0.4, "dead": 0.1, "spread": 0.5,
}  # fmt: skip
FLAT = WELL | {"spread": 0.001}


class Listener(Monitor):
    def __init__(self):
        self.warnings, self.records = [], []

    def warn(self, text):
        self.warnings.append(text)

    def record(self, record):
        self.records.append(record)


@pytest.fixture
def logger(tmp_path):
    run = Run.create(tmp_path / "run", {"config": {}})
    return RunLogger(run, Config(), 4, ["teacher"], [Listener()])


@pytest.mark.parametrize(
    ("rows", "updates", "warned"),
    [
        ([WELL], [room.PATIENCE_UPDATES], 0),
        ([FLAT], [room.PATIENCE_UPDATES - 1], 0),
        ([FLAT], [room.PATIENCE_UPDATES], 1),
        ([FLAT, FLAT], [room.PATIENCE_UPDATES, room.PATIENCE_UPDATES + 1], 1),
    ],
)
def test_a_collapsed_student_is_warned_of_once_and_not_too_early(logger, rows, updates, warned):
    for i, (row, count) in enumerate(zip(rows, updates, strict=True), start=1):
        logger.training(8 * i, 0.1, count, {"net1.7": row})
    warnings = logger.monitors[0].warnings
    assert len(warnings) == warned
    for text in warnings:
        assert text.startswith("net1.7 has collapsed: 0.1 %")
        assert "a constant policy has 0.40" in text


@pytest.mark.parametrize(
    ("teacher", "updates", "share", "warned"),
    [
        ("pqn", room.PATIENCE_UPDATES, 1.0, 1),
        ("pqn", room.PATIENCE_UPDATES, 0.99, 0),
        ("pqn", 10, 1.0, 0),  # it has hardly learnt
        ("frozen", 10, 1.0, 1),
    ],
)
def test_a_teacher_that_always_does_the_same_is_warned_of_once(
    tmp_path, teacher, updates, share, warned
):
    run = Run.create(tmp_path / "run", {"config": {}})
    told = Listener()
    logger = RunLogger(run, Config(teacher=TeacherConfig(teacher)), 4, ["teacher"], [told])
    row = WELL | {"agreement": share, "constant_agreement": share}
    for step in (8, 16):
        logger.training(step, 0.1, updates, {"net1.7": row, "net4": row})
    assert len(told.warnings) == warned
    assert all("teacher takes the same action in all states" in text for text in told.warnings)


def test_a_line_holds_frames_rate_and_the_mean_of_recent_episodes(logger, monkeypatch):
    logger.start(step=1000, seconds=40.0)
    monkeypatch.setattr(RunLogger, "seconds", 42.0)
    for total in [1.0, 2.0, 3.0]:
        logger.book("teacher", total)
    logger.training(1100, 0.5, 7, {"teacher": {"loss": 0.5}})
    logger.training(1100, 0.5, 7, {"teacher": {"loss": 0.5}})  # no step since: no line
    [line] = [
        json.loads(text) for text in (logger.run.path / "metrics.jsonl").read_text().splitlines()
    ]
    assert line == logger.monitors[0].records[0]
    assert line["frames"] == 4400
    assert line["seconds"] == 42.0
    assert line["steps_per_second"] == 50.0
    assert line["teacher"] == {"loss": 0.5, "return": 2.0}
    assert line["episodes"] == 3


def test_returns_are_those_of_whoever_played(tmp_path):
    run = Run.create(tmp_path / "run", {"config": {}})
    players = ["pong/teacher", "boxing/teacher", "boxing/net1.7"]
    found = RunLogger(run, Config(), 4, players, [Listener()])
    for name, total in [("pong/teacher", 3.0), ("boxing/net1.7", 5.0), ("boxing/net1.7", 7.0)]:
        found.book(name, total)
    found.training(100, 0.5, 7, {"pong/teacher": {"loss": 0.5}, "net1.7": {"agreement": 0.25}})
    line = found.monitors[0].records[0]
    assert line["teachers"] == {
        "pong/teacher": {"loss": 0.5, "return": 3.0}, "boxing/teacher": {"return": None},
    }  # fmt: skip
    assert line["students"] == {"net1.7": {"agreement": 0.25}, "boxing/net1.7": {"return": 6.0}}


def test_episodes_are_summed_from_first_to_last_and_over_lost_lives():
    episodes, off = Episodes(1), [False]
    steps = [  # reward, terminal, first, last
        (0, False, True, False), (1, False, False, False), (5, True, False, False),  # a lost life
        (2, True, False, True), (0, False, True, False), (7, False, False, True),
    ]  # fmt: skip
    found = []
    for reward, terminal, first, last in steps:
        found += episodes.add(Timestep(None, [reward], [terminal], off, _flag(first), _flag(last)))
    assert [(e.total, e.steps) for e in found] == [(8.0, 3), (7.0, 1)]


def _flag(value):
    import numpy as np

    return np.array([value])
