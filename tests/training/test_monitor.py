"""What people see of a run: every name and unit, 80 columns, control codes only on a terminal."""

import io

import pytest
from progress_records import (
    EVAL,
    INFO,
    LONG,
    NOTE,
    OWN,
    SCORES,
    SUMMARY,
    TRAIN,
    screen,
    text,
    widest,
)

from rtpd.system.formatting import terminal
from rtpd.training import monitor as m
from rtpd.training import progress as p


def panel(*records, info=INFO, clock=lambda: 0.0) -> str:
    """The panel after some records, without colours and without its refreshing thread."""
    console = screen(False)
    live = m.Live(console, clock)
    live._info = info
    for record in records:
        live.record(record)
    console.print(live)
    return text(console)


def told(monitor_type, terminal: bool, info=INFO, summary=SUMMARY) -> str:
    """All that a monitor writes from start to finish."""
    console = screen(terminal)
    monitor = monitor_type(console)
    monitor.start(info)
    monitor.phase("compiling the update")
    monitor.record(TRAIN)
    monitor.record(EVAL)
    monitor.warn("the disk is almost full")
    monitor.finish(summary)
    monitor.close()
    return text(console)


def named(name: str) -> dict:
    return {**INFO, "agents": {name: INFO["agents"]["net1.7"]}}


def test_plain_lines_say_everything_with_units():
    lines = told(m.Plain, False).splitlines()
    assert lines[0] == "ale/pong -> runs/pong-0"
    assert lines[1] == "  preset cpu, seed 0, device cpu (2 cores), 400,000 steps"
    assert lines[3] == "  net1.7: tiny, 29,214 parameters (1.73 %), loss kl"
    assert lines[4] == "  replay 150,000 transitions: 1.06 GB of 20.1 GB free"
    assert lines[5] == "... compiling the update"
    assert lines[6] == (
        "12,000 steps  3.0 %  243 steps/s  ETA 26 min  epsilon 0.76  teacher return -20.1  "
        "net1.7 keeps 61 % (constant 37 %)"
    )
    assert lines[7] == (
        "12,000 steps  evaluation: mean return ± s.e.  teacher -12.0 ± 1.1 (5 episodes)  "
        "net1.7 1,234.6 ± 0.0 (5 episodes)"
    )
    assert lines[8] == "warning: the disk is almost full"
    assert "runs/pong-0  interrupted: 12,000 steps, 48,000 frames, 12 min 30 s" in lines[10]
    assert lines[-1] == "next: rtpd train --resume runs/pong-0"


@pytest.mark.parametrize("terminal", [False, True])
def test_control_codes_only_on_a_terminal(terminal):
    shown = told(m.Live if terminal else m.Plain, terminal)
    assert ("\x1b" in shown) == terminal
    assert "\t" not in shown


def test_the_terminal_keeps_what_stays():
    shown = told(m.Live, True)
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h") == 1  # the cursor comes back
    for piece in ("29,214", "the disk is almost full", "1,234.6", "next: rtpd train --resume"):
        assert piece in shown


def test_panel_says_everything_with_units():
    shown = panel(TRAIN, EVAL, clock=lambda: 100.0)
    for piece in ("ale/pong", "runs/pong-0", "3.0 %", "ETA 26 min", "12,000 steps", "243 steps/s",
                  "epsilon 0.76", "14 episodes", "training, 1 min 10 s", "1,687,206", "100 %",
                  "1.73 %", "-20.1", "-12.0 ± 1.1", "1,234.6 ± 0.0", "61 % ▅", "37 %"):  # fmt: skip
        assert piece in shown, piece
    assert "collapsed" not in shown


def test_nothing_is_wider_than_the_screen():
    names = LONG
    agents = {n: {"parameters": 1_687_206, "share": 0.00102, "net": "x"} for n in names}
    score = {"mean": 123456.7, "standard_error": 12345.6, "episodes": 30}
    follow = {**TRAIN["students"]["net1.7"], "advantage_kept": 1.0, "spread": 0.0}
    record = {
        **TRAIN,
        "teacher": {"return": 123456.7},
        "students": dict.fromkeys(names[1:], follow),
    }
    info = {**INFO, "agents": agents}
    evaluated = {**EVAL, "agents": dict.fromkeys(names, score)}
    for shown in (panel(), panel(record, evaluated, info=info)):
        assert widest(shown) <= 80
    left = [line[1:].split("  ")[0].strip() for line in panel(record, info=info).splitlines()]
    assert all(name in "".join(left) for name in names)  # folded, nothing cut off


@pytest.mark.parametrize(
    ("steps", "minutes", "record", "done", "eta"),
    [
        (400_000, None, {"step": 100_000, "steps_per_second": 250.0}, 0.25, 1200.0),
        (None, 8.0, {"seconds": 120.0}, 0.25, 360.0),
        (400_000, 8.0, {"step": 4000, "steps_per_second": 99.0, "seconds": 120.0}, 0.25, 360.0),
        (1000, 8.0, {"step": 900, "steps_per_second": 10.0, "seconds": 120.0}, 0.9, 10.0),
        (1000, None, {"step": 1004, "steps_per_second": 10.0}, 1.0, 0.0),
        (1000, None, {"step": 500, "steps_per_second": None}, 0.5, None),
        (1000, None, {}, 0.2, None),  # nothing yet: where the run was resumed
        (None, None, {"step": 500, "steps_per_second": 10.0}, None, None),
    ],
)
def test_progress_is_by_the_limit_that_is_reached_first(steps, minutes, record, done, eta):
    info = {"steps": steps, "minutes": minutes, "start_step": 200}
    assert p.progress(info, record) == (pytest.approx(done), pytest.approx(eta))


def test_a_preset_is_not_taken_for_the_teacher():
    lines = p.start_lines({**INFO, "teacher": "dqn", "preset": "double-dqn"})
    assert lines[1].startswith("  teacher dqn (settings of preset double-dqn), seed 0, ")
    lines = p.start_lines({**INFO, "teacher": "dqn", "preset": None})
    assert lines[1].startswith("  teacher dqn, seed 0, ")


def test_settings_of_a_student_stand_in_a_line_of_their_own():
    base = SUMMARY["agents"]["net1.7"]
    agents = {name: {**base, **own} for name, own in OWN.items()}
    info = {**INFO, "agents": {**INFO["agents"], **agents}}
    students = dict.fromkeys(OWN, TRAIN["students"]["net1.7"])
    lines = [*p.start_lines(info), p.record_line(info, {**TRAIN, "students": students})]
    lines.append(p.record_line(info, {**EVAL, "agents": dict.fromkeys(OWN, SCORES["teacher"])}))
    shown = panel({**TRAIN, "students": students}, info=info)
    for line in [*lines, *shown.splitlines()]:
        if any(word in line for word in ("keeps", " ± ", "29,214")):
            assert "temperature-0.1" not in line and "follow-ema" not in line
    assert f"  {NOTE}" in lines
    (train,) = (line for line in lines if "net1.7#3 keeps" in line)
    assert train.endswith(
        "net1.7 keeps 61 % (constant 37 %)  net1.7#2 keeps 61 %  net1.7#3 keeps 61 %"
    )


def test_nothing_is_folded_where_nobody_looks(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    name = "a-student-of-an-exceedingly-long-name-" * 3
    stream = io.StringIO()
    terminal(stream).print(p.evaluation_table({name: SUMMARY["agents"]["net1.7"]}))
    assert any(line.startswith(name) and "98 %" in line for line in stream.getvalue().splitlines())


@pytest.mark.parametrize("name", ["[red]x[/red]", "[/]", ":boom:", "a\\[b]"])
def test_markup_in_names_is_shown_as_it_is(name):
    summary = {**SUMMARY, "run": name, "agents": {name: SUMMARY["agents"]["net1.7"]}}
    info = {**named(name), "run": name, "notes": [name]}
    assert told(m.Plain, False, info, summary).count(name) >= 4
    assert panel(TRAIN, info=info).count(name) == 2
    assert name in told(m.Live, True, info, summary)


def test_control_characters_are_spelt_out():
    evil = "x\x1b[2J\r\ny\x9b\u202e\udcff"
    info = {**named(evil), "run": evil, "notes": [evil]}
    summary = {**SUMMARY, "run": evil, "next": [evil]}
    for shown in (told(m.Plain, False, info, summary), panel(TRAIN, info=info)):
        assert r"x\x1b[2J\r\ny\x9b\u202e\udcff" in shown
        assert all(ch.isprintable() or ch == "\n" for ch in shown)


def test_absent_values_show_as_a_dash():
    empty = {"kind": "train", "step": None, "teacher": {"return": None}, "students": {"net1.7": {}}}
    assert panel().count("-") >= 8
    assert "ETA -" in panel(empty)
    nothing = {"kind": "eval", "step": 5, "agents": {"net1.7": {"mean": float("nan")}}}
    console = screen(False)
    plain = m.Plain(console)
    plain.record(empty)
    plain.record(nothing)
    assert "teacher return -  net1.7 keeps - (constant -)" in text(console)
    assert text(console).endswith("net1.7 - (- episodes)\n")


def test_returns_keep_their_sign_but_zero_has_none():
    rows = {"a": {"mean": -0.01, "standard_error": 0.5}, "b": {"mean": -0.5}}
    console = screen(False)
    console.print(p.evaluation_table(rows, title="t"))
    assert "\na        0.0 ± 0.5" in text(console)
    assert "-0.5" in text(console)


@pytest.mark.parametrize(
    ("student", "marked"),
    [
        ((0.37, 0.37, 0.8), False),  # plays well
        ((0.37, 0.37, 0.05), True),
        ((0.9, 0.3, 0.05), False),
        ((0.9, 0.3, 0.001), True),
        ((0.9, 0.3, 0.5), False),
        ((0.9,), False),
    ],
)
def test_a_collapsed_student_is_marked(student, marked):
    """Of the advantage that it keeps, what a constant action would, and its spread."""
    student = dict(
        zip(("advantage_kept", "constant_advantage_kept", "spread"), student, strict=False)
    )
    record = {**TRAIN, "students": {"net1.7": student}}
    assert ("net1.7 !" in panel(record)) == ("! collapsed" in panel(record)) == marked
    console = screen(False)
    m.Plain(console).record(record)
    assert text(console).endswith(" !\n") == marked


def test_the_sparkline_spans_the_history_and_never_moves_the_columns():
    histories = [[], [0.0], [0.0, 1.0], [i / 99 for i in range(100)]]
    lines = [p.sparkline(h) for h in histories]
    assert [line.strip() for line in lines] == ["", "▁", "▁█", "▁▂▄▅▇█"]
    assert {len(line) for line in lines} == {6}


def test_the_warm_up_stays_the_phase_until_the_first_update():
    live = m.Live(screen(True), clock=lambda: 0.0)
    live.phase("warm-up")
    live.record({**TRAIN, "updates": 0})
    assert live._phase == "warm-up"
    live.record(TRAIN)
    assert live._phase == "training"


def test_the_final_evaluation_tells_its_episodes_and_the_time_left():
    now = [0.0]
    console = screen(False)
    live = m.Live(console, lambda: now[0])
    live.record({**TRAIN, "step": INFO["steps"]})
    live.phase("final evaluation: 30 episodes an agent")
    live.playing(0, 60)
    now[0] = 10.0
    console.print(live)
    live.playing(15, 60)
    console.print(live)
    first, second = text(console).split("\nale")[-1], text(console)
    assert "0 of 60 episodes" in first and "0.0 %" in first and "ETA -" in first
    assert "15 of 60 episodes" in second and "25.0 %" in second and "ETA 30 s" in second
    assert "ETA 0 s" not in second and "100.0 %" not in second


def test_plain_lines_tell_of_it_a_quarter_at_a_time():
    console = screen(False)
    plain = m.Plain(console)
    for played in range(61):
        plain.playing(played, 60)
    assert text(console).splitlines() == [
        f"... final evaluation: {played} of 60 episodes" for played in (15, 30, 45)
    ]


def test_the_summary_tells_training_and_evaluation_apart():
    said = told(m.Plain, False, summary={**SUMMARY, "evaluation_seconds": 90.0})
    assert "and 1 min 30 s of final evaluation" in said
    assert "final evaluation" not in told(m.Plain, False)


def test_columns_that_no_agent_has_are_left_out():
    table = p.evaluation_table({"a": {"mean": 1.0}, "b": {"median": None}}, title="")
    assert [str(column.header) for column in table.columns] == [
        "agent", "mean return\n± s.e.", "median\nreturn",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("tty", "term", "quiet", "kind"),
    [(True, "xterm", False, m.Live), (True, "dumb", False, m.Plain),
     (False, "xterm", False, m.Plain), (True, "xterm", True, m.Quiet)],
)  # fmt: skip
def test_the_monitor_suits_the_stream(monkeypatch, tty, term, quiet, kind):
    monkeypatch.setenv("TERM", term)
    monkeypatch.setenv("FORCE_COLOR", "1")
    stream = io.StringIO()
    stream.isatty = lambda: tty
    assert type(m.monitor(stream, quiet=quiet)) is kind


def test_quiet_says_nothing_and_an_ascii_stream_is_no_reason_to_stop():
    quiet = m.Quiet()
    for call in (quiet.start, quiet.record, quiet.finish):
        call({})
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    m.monitor(stream).record(EVAL)
    stream.flush()
    assert b"teacher -12.0 ? 1.1" in raw.getvalue()
