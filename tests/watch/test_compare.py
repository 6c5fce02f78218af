"""Several runs on one page, what curves are compared with, and what is said of how far a run is."""

import json
import os
import platform

import pytest
from chromium import PROGRAM, Chromium
from watched import EVIL, agent, eval_line, new_run, told, train_line

from rtpd.cli.main import main
from rtpd.errors import DivergedError, RequestError
from rtpd.storage.records import TrainRecord
from rtpd.storage.run_folder import LOCK, Run, locked
from rtpd.system.formatting import clean
from rtpd.watch import serving
from rtpd.watch.state import State
from rtpd.watch.status import status_of


@pytest.fixture
def pair(tmp_path):
    """Two runs of the same game: agents of the same names, and nothing else alike."""
    first, second = (new_run(tmp_path / name) for name in ("slow", "quick"))
    agent(second, "teacher", step=700)
    for step in (300, 600):
        first.append(train_line(step))
    second.append(train_line(400, seconds=20.0))
    second.append(eval_line(400))
    return first, second


def test_curves_of_two_runs_do_not_mix(pair):
    alone = [json.loads(json.dumps(State(run.path).look())) for run in pair]
    with serving([run.path for run in pair]) as url:
        assert told(url, "/runs.json") == {"runs": ["slow", "quick"]}
        answers = [told(url, run=n) for n in (0, 1)]
        for answer, state, run in zip(answers, alone, ("slow", "quick"), strict=True):
            assert answer["run"] == run
            for what in ("curves", "clock", "agents", "progress"):
                assert answer[what] == state[what]
        steps = [[p[0] for p in a["curves"]["return"]["teacher"]] for a in answers]
        assert steps == [[300, 600], [400]]
        assert told(url)["run"] == "slow"  # the first, if none is named
        pair[1].append(train_line(900))
        assert "curves" not in told(url, run=0, seen=answers[0]["version"])
        assert "curves" in told(url, run=1, seen=answers[1]["version"])
        for run in ("2", "-1", "x", "00"):
            assert "trouble" in told(url, run=run), run


def test_games_are_those_of_the_chosen_run(pair):
    with serving([run.path for run in pair]) as url:
        steps = [
            told(url, "/games.json", run=n, agent="teacher", seen=0)["trained_steps"]
            for n in (0, 1)
        ]
        assert steps == [100, 700]


def test_runs_of_one_name_are_told_apart_and_none_is_given_twice(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(os, "nice", lambda by: by)  # or all tests after this one would be slow
    first, second = (new_run(tmp_path / name / "pong-1", saved=False).path for name in "ab")
    with serving([first, str(second)]) as url:
        assert told(url, "/runs.json") == {"runs": ["a/pong-1", "b/pong-1"]}
    for given, words in (
        ([first, second, tmp_path / "a" / ".." / "a" / "pong-1"], "given twice"),
        ([first] * 5, "5 runs: allowed: 1 to 4"),
        ([], "0 runs: allowed: 1 to 4"),
        ([first, tmp_path], "is not a run folder"),
    ):
        with pytest.raises(RequestError, match=words), serving(given):
            pass
    assert main(["watch"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_one_run_in_trouble_leaves_the_other_as_it_is(pair):
    with serving([run.path for run in pair]) as url:
        (pair[0].path / "manifest.json").unlink()
        assert "is not a run folder" in told(url, run=0)["trouble"]
        assert "curves" in told(url, run=1)


@pytest.mark.parametrize(
    ("env", "measured", "lines"),
    [
        ("ale/pong", {}, {"ale/pong": {"random play": -20.7, "human": 14.6}}),
        ("ale/pong", {"ale/pong": 3.0}, {"ale/pong": {"random play": -20.7, "human": 14.6}}),
        ("gym/CartPole-v1", {"gym/CartPole-v1": 21.5}, {"gym/CartPole-v1": {"random play": 21.5}}),
        ("gym/CartPole-v1", {}, {}),
        (
            "ale/pong+ale/boxing", {},
            {"ale/pong": {"random play": -20.7, "human": 14.6},
             "ale/boxing": {"random play": 0.1, "human": 12.1}},
        ),
    ],
)  # fmt: skip
def test_curves_are_compared_with_random_play_and_people_where_those_are_known(
    tmp_path, env, measured, lines
):
    games = env.split("+")
    names = ["pong/teacher", "boxing/teacher"][: len(games)] if len(games) > 1 else ["teacher"]
    run = new_run(tmp_path / "run", names, env, saved=False)
    run.note(random_scores=measured)
    answer = State(run.path).look()
    assert answer["references"] == lines
    assert [row["env"] for row in answer["agents"]] == games


RECORD = TrainRecord(step=4_120, seconds=725.0, steps_per_second=10.0)
RESUME = "rtpd train --resume {path}"
MINUTES = {"minutes": 30.0}


@pytest.mark.parametrize(
    ("status", "more", "limits", "line", "done"),
    [
        ("starting", {}, {}, "4,120 of 10,000 steps (41 %), starting, ETA 9 min 48 s", 0.412),
        ("running", {}, {}, "4,120 of 10,000 steps (41 %), running, ETA 9 min 48 s", 0.412),
        ("running", {}, {"minutes": 15.0},
         "4,120 of 10,000 steps, 12 min 5 s of 15 min (81 %), running, ETA 2 min 55 s", 725 / 900),
        ("interrupted", {}, {}, "interrupted at 4,120 of 10,000 steps (41 %): " + RESUME, 0.412),
        ("failed", {}, {}, "failed at 4,120 of 10,000 steps (41 %): " + RESUME, 0.412),
        ("failed", {"failure": "teacher has diverged: step 4,120, loss nan"}, {},
         "failed at 4,120 of 10,000 steps (41 %): teacher has diverged: step 4,120, loss nan",
         0.412),
        ("finished", {"step": 10_000, "seconds": 1635.0}, {},
         "finished after 10,000 steps, 27 min 15 s of training", 1.0),
        ("finished", {"step": 4_200, "seconds": 1801.0}, MINUTES,
         "finished after 4,200 of 10,000 steps, at its limit of 30 min", 1.0),
    ],
)  # fmt: skip
def test_one_line_says_how_far_a_run_is_and_what_ended_it(
    tmp_path, status, more, limits, line, done
):
    run = new_run(tmp_path / "run", saved=False)
    run.note(status=status, config=run.manifest["config"] | limits, **more)
    found = status_of(Run.open(run.path), RECORD)
    assert (found.word, found.line) == (status, line.format(path=run.path))
    assert found.done == pytest.approx(done)
    run.append({"kind": "train", "step": 4_120, "seconds": 725.0, "steps_per_second": 10.0})
    shown = State(run.path).look()
    assert (shown["status"], shown["progress"], shown["done"]) == (status, found.line, found.done)


def test_a_run_whose_process_is_gone_was_killed_where_that_can_be_told(tmp_path):
    run = new_run(tmp_path / "run", saved=False)
    state = State(run.path)
    assert state.look()["status"] == "running"  # no lock: of a version that had none
    with locked(run.path):
        before = state.look()
        assert before["status"] == "running"
    after = state.look(before["version"])
    assert (after["status"], after["running"]) == ("killed", False)
    resume = f"rtpd train --resume {run.path}"
    assert after["progress"] == f"killed at 0 of 10,000 steps (0 %): {resume}"
    (run.path / LOCK).write_text(f"process {os.getpid()} on not-{platform.node()}")
    assert state.look()["status"] == "running"  # a copy, or another machine's
    run.note(status="interrupted")
    assert state.look()["status"] == "interrupted"


def test_what_a_run_has_failed_of_is_kept_until_it_is_resumed(tmp_path):
    run = new_run(tmp_path / "run", saved=False)
    with pytest.raises(DivergedError), run.noting_its_end():
        raise DivergedError("teacher has diverged: step 7, loss nan")
    assert Run.open(run.path).about.failure == "teacher has diverged: step 7, loss nan"
    run.note(status="running")
    with pytest.raises(OSError, match="disk"), run.noting_its_end():
        raise OSError(f"disk\n{EVIL}\x1b")
    assert Run.open(run.path).about.failure == clean(f"disk\n{EVIL}\x1b")
    run.note(status="running")
    with pytest.raises(KeyboardInterrupt), run.noting_its_end():
        raise KeyboardInterrupt
    assert Run.open(run.path).manifest["status"] == "interrupted"
    assert Run.open(run.path).about.failure is None


TEXT = "document.body.innerText"
LEGEND = "[...document.querySelectorAll('.legend')].map((one) => one.textContent)"
CHOOSE = """((id, value) => {{
  document.getElementById(id).value = value;
  document.getElementById(id).dispatchEvent(new Event('change'));
}})('{}', '{}')"""


@pytest.mark.skipif(PROGRAM is None, reason="no Chromium is installed")
def test_two_runs_in_a_browser(tmp_path):
    first = new_run(tmp_path / EVIL, ("teacher", EVIL))
    second = new_run(tmp_path / "quick", ("teacher", EVIL, "net0.1"))
    for step in (300, 600, 900):
        first.append(train_line(step, (EVIL,)))
    second.append(train_line(500, (EVIL, "net0.1"), seconds=600.0))
    with serving([first.path, second.path]) as url:
        browser = Chromium(tmp_path / "profile")
        try:
            browser.look(1280)
            browser.call("Page.navigate", url=url)
            browser.wait("document.querySelectorAll('.legend li').length > 0")
            assert browser.value(f"{TEXT}.includes('500 of 10,000 steps')")
            returns, advantage = browser.value(LEGEND)
            assert f"{clean(EVIL)}: teacher 300" in returns and "quick: teacher 166.7" in returns
            assert f"quick: {EVIL} " in advantage and "human 14.6" in browser.value(TEXT)
            # A curve of one point is a dot; one agent has one colour, in lines of the run's own.
            assert (
                browser.value("document.querySelectorAll('.curve.thin.run-0 circle').length") == 0
            )
            assert (
                browser.value("document.querySelectorAll('.curve.thin.run-1 circle').length") == 1
            )
            names = "[...document.querySelectorAll('.curve.line')].map((o) => o.classList.value)"
            lines = ["student-0 run-0", "student-0 run-1", "student-1 run-1"]
            assert browser.value(names) == [f"curve line {look}" for look in lines]
            ends = "[...document.querySelectorAll('.axis')].map((one) => one.textContent)"
            assert "agent steps" in browser.value(ends)
            browser.value(CHOOSE.format("axis", "minutes"))
            assert "minutes of training" in browser.value(ends)
            drawn = "document.querySelector('.curve.thin.run-0 polyline').getAttribute('points')"
            some = browser.value(drawn)
            browser.value(CHOOSE.format("axis", "steps"))
            assert browser.value(drawn) != some
            browser.value("document.getElementById('games').scrollIntoView()")
            browser.value(CHOOSE.format("from", "1"))
            browser.wait("document.querySelectorAll('#cast input').length == 3")
            browser.wait("document.querySelectorAll('.card').length == 2", 300)
            assert browser.said == []
        finally:
            browser.close()
