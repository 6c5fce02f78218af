"""What people see: every name and unit, 80 columns, no control codes where nobody reads them."""

import io

import pytest
from rich.cells import cell_len
from rich.console import Console

from rtpd.system import formatting as c
from rtpd.training import monitor as m

INFO = {
    "env": "ale/pong", "run": "runs/pong-0", "preset": "cpu", "device": "cpu (2 cores)",
    "steps": 400_000, "minutes": None, "seed": 0, "start_step": 0,
    "agents": {
        "teacher": {"net": "conv32-64-64x512", "parameters": 1_687_206, "share": 1.0},
        "net1.7": {"net": "tiny", "parameters": 29_214, "share": 0.01732, "loss": "kl"},
    },
    "notes": ["replay 150,000 transitions: 1.06 GB of 20.1 GB free"],
}  # fmt: skip
TRAIN = {
    "kind": "train", "step": 12_000, "frames": 48_000, "seconds": 61.2, "steps_per_second": 243.0,
    "epsilon": 0.76, "updates": 1000, "episodes": 14,
    "teacher": {"loss": 0.01, "q": 0.3, "return": -20.1},
    "students": {"net1.7": {"loss": 0.2, "advantage_kept": 0.61, "constant_advantage_kept": 0.37,
                            "dead": 0.1, "spread": 0.8}},
}  # fmt: skip
SCORES = {
    "teacher": {"mean": -12.0, "standard_error": 1.1, "median": -12.0, "episodes": 5},
    "net1.7": {"mean": 1234.56, "standard_error": 0.04, "median": -13.0, "episodes": 5},
}
EVAL = {"kind": "eval", "step": 12_000, "seconds": 70.0, "agents": SCORES}
SUMMARY = {
    "run": "runs/pong-0", "status": "interrupted", "step": 12_000, "frames": 48_000, "seconds": 750,
    "agents": {
        name: {**agent, **SCORES[name], "human_normalised": None, "percent_of_teacher": 98.2}
        for name, agent in INFO["agents"].items()
    },
    "next": ["rtpd train --resume runs/pong-0"],
}  # fmt: skip
EVALUATION = {
    "run": "runs/pong-0", "env": "ale/pong", "epsilon": 0.05, "episodes": 30,
    "agents": {
        name: {**row, "human_normalised": 1.12, "percent_interval": [96.6, 99.4]}
        for name, row in SUMMARY["agents"].items()
    },
}  # fmt: skip


def screen(terminal: bool) -> Console:
    return Console(file=io.StringIO(), width=80, force_terminal=terminal)


def text(console: Console) -> str:
    return console.file.getvalue()


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


def widest(shown: str) -> int:
    return max(cell_len(line) for line in shown.splitlines())


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
    names = ["teacher", "net1.7", "a-student-with-a-very-long-name-indeed", "幅の広い名前"]
    agents = {n: {"parameters": 1_687_206, "share": 0.00102, "net": "x"} for n in names}
    score = {"mean": 123456.7, "standard_error": 12345.6, "episodes": 30}
    follow = {**TRAIN["students"]["net1.7"], "advantage_kept": 1.0, "spread": 0.0}
    record = {
        **TRAIN,
        "teacher": {"return": 123456.7},
        "students": dict.fromkeys(names[1:], follow),
    }
    result = {**EVALUATION, "agents": {n: {**EVALUATION["agents"]["net1.7"], **score, **agents[n]}
                                       for n in names}}  # fmt: skip
    info = {**INFO, "agents": agents}
    tables = screen(False)
    c.print_evaluation(result, console=tables)
    tables.print(c.games_table({f"some_long_game_name_{i}": 18 for i in range(57)}))
    evaluated = {**EVAL, "agents": dict.fromkeys(names, score)}
    for shown in (panel(), panel(record, evaluated, info=info), text(tables)):
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
    assert c.progress(info, record) == (pytest.approx(done), pytest.approx(eta))


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0 s"), (45.4, "45 s"), (59.6, "1 min"), (750, "12 min 30 s"), (1200, "20 min"),
     (11_130, "3 h 5 min"), (3600, "1 h"), (None, "-"), (float("inf"), "-"), (-3, "0 s")],
)  # fmt: skip
def test_durations(seconds, shown):
    assert c.duration(seconds) == shown


def test_a_preset_is_not_taken_for_the_teacher_and_one_is_one():
    lines = c.start_lines({**INFO, "teacher": "dqn", "preset": "double-dqn"})
    assert lines[1].startswith("  teacher dqn (settings of preset double-dqn), seed 0, ")
    lines = c.start_lines({**INFO, "teacher": "dqn", "preset": None})
    assert lines[1].startswith("  teacher dqn, seed 0, ")
    assert [c.count(n, "env") for n in (0, 1, 8, 1500, None)] == [
        "0 envs", "1 env", "8 envs", "1,500 envs", "- envs",
    ]  # fmt: skip


OWN = {
    "net1.7": {},
    "net1.7-updates-4-temperature-0.1": {
        "short": "net1.7#2", "settings": ["updates=4", "temperature=0.1"],
    },
    "net1.7-optimizer-anneal-0.2-follow-ema": {
        "short": "net1.7#3", "settings": ["optimizer.anneal=0.2", "follow=ema"],
    },
}  # fmt: skip


def test_settings_of_a_student_stand_in_a_line_of_their_own():
    base = SUMMARY["agents"]["net1.7"]
    agents = {name: {**base, **own} for name, own in OWN.items()}
    info = {**INFO, "agents": {**INFO["agents"], **agents}}
    students = dict.fromkeys(OWN, TRAIN["students"]["net1.7"])
    lines = [*c.start_lines(info), c.record_line(info, {**TRAIN, "students": students})]
    lines.append(c.record_line(info, {**EVAL, "agents": dict.fromkeys(OWN, SCORES["teacher"])}))
    console = screen(False)
    c.print_evaluation({**EVALUATION, "agents": agents}, console=console)
    shown = panel({**TRAIN, "students": students}, info=info)
    for line in [*lines, *text(console).splitlines(), *shown.splitlines()]:
        if any(word in line for word in ("keeps", " ± ", "29,214")):
            assert "temperature-0.1" not in line and "follow-ema" not in line
    rows = [line.split()[0] for line in text(console).splitlines() if "29,214" in line]
    assert rows == ["net1.7", "net1.7#2", "net1.7#3"]  # whole
    said = "net1.7#2: updates=4, temperature=0.1; its name: net1.7-updates-4-temperature-0.1"
    assert said in " ".join(text(console).split()) and f"  {said}" in lines
    (train,) = (line for line in lines if "net1.7#3 keeps" in line)
    assert train.endswith(
        "net1.7 keeps 61 % (constant 37 %)  net1.7#2 keeps 61 %  net1.7#3 keeps 61 %"
    )


def test_nothing_is_folded_where_nobody_looks(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    name = "a-student-of-an-exceedingly-long-name-" * 3
    stream = io.StringIO()
    c.terminal(stream).print(c.evaluation_table({name: SUMMARY["agents"]["net1.7"]}))
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
    console.print(c.evaluation_table(rows, title="t"))
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
    lines = [c.sparkline(h) for h in histories]
    assert [line.strip() for line in lines] == ["", "▁", "▁█", "▁▂▄▅▇█"]
    assert {len(line) for line in lines} == {6}


def test_the_warm_up_stays_the_phase_until_the_first_update():
    live = m.Live(screen(True), clock=lambda: 0.0)
    live.phase("warm-up")
    live.record({**TRAIN, "updates": 0})
    assert live._phase == "warm-up"
    live.record(TRAIN)
    assert live._phase == "training"


def test_evaluation_for_people():
    console = screen(False)
    c.print_evaluation(EVALUATION, console=console)
    shown = text(console)
    for piece in ("ale/pong", "net1.7", "29,214", "1.73 %", "-12.0 ± 1.1", "-13.0", "112 %",
                  "98 % (97 to 99)", "30 episodes an agent", "epsilon 0.05"):  # fmt: skip
        assert piece in shown, piece


def test_columns_that_no_agent_has_are_left_out():
    table = c.evaluation_table({"a": {"mean": 1.0}, "b": {"median": None}}, title="")
    assert [str(column.header) for column in table.columns] == [
        "agent", "mean return\n± s.e.", "median\nreturn",
    ]  # fmt: skip


def test_games_with_their_actions():
    console = screen(False)
    console.print(c.games_table({"pong": 6, "boxing": 18, "[b]": 3}))
    assert text(console).startswith("3 games, each with its number of actions\n")
    assert text(console).split()[-6:] == ["[b]", "3", "boxing", "18", "pong", "6"]


def test_an_error_is_one_line():
    assert c.error_line(ValueError("bad\x1b[31m\nname")) == r"rtpd: error: bad\x1b[31m\nname"
    assert c.error_line(ValueError()) == "rtpd: error: ValueError"


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
