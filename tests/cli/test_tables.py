"""Results as tables: every name and unit, 80 columns."""

import io

from progress_records import EVALUATION, LONG, NOTE, OWN, SUMMARY, screen, text, widest
from rich.console import Console

from rtpd.cli import tables


def test_nothing_is_wider_than_the_screen():
    row = EVALUATION["agents"]["net1.7"] | {"mean": 123456.7, "standard_error": 12345.6}
    result = {**EVALUATION, "agents": {name: row | {"share": 0.00102} for name in LONG}}
    console = screen(False)
    tables.print_evaluation(result, console=console)
    games = {f"some_long_game_name_{i}": 18 for i in range(57)}
    tables.print_games(games, console=console)
    assert widest(text(console)) <= 80


def test_evaluation_for_people():
    console = screen(False)
    tables.print_evaluation(EVALUATION, console=console)
    shown = text(console)
    for piece in ("ale/pong", "net1.7", "29,214", "1.73 %", "-12.0 ± 1.1", "-13.0", "112 %",
                  "98 % (97 to 99)", "30 episodes an agent", "epsilon 0.05"):  # fmt: skip
        assert piece in shown, piece


def a_run(name, students, short=None, env="ale/breakout"):
    return {
        "run": name, "env": env, "state": "finished", "step": 1_000_000, "steps": 1_000_000,
        "minutes": 0.0, "seconds": 3600.0, "teacher": 300.1, "students": students,
        "short": short or {},
    }  # fmt: skip


def test_a_run_is_one_line_however_narrow_the_screen():
    settings = "net1.7-temperature-0.1-updates-4-targets-stored"
    students = {settings: 98.9, "net1.7": 23.0, "net0.5": None}
    games = {"pong/net1.7": 20.0, "boxing/net1.7": 60.0}
    runs = [
        a_run("following/breakout/real-time/seed-0", students),
        a_run("b", students, {settings: "net1.7#2"}),
        a_run("c", games, env="ale/pong+ale/boxing"),
        a_run("d", {}),
    ]
    for wide, pieces in ((80, {"98.9"}), (170, {settings, "98.9 (best of 2)", "2 in 2 games"})):
        console = Console(file=io.StringIO(), width=wide)
        tables.print_runs(runs, console=console)
        lines = console.file.getvalue().splitlines()
        table = lines[: lines.index("")]
        assert len(table) == 2 + len(runs), table
        assert max(map(len, lines)) <= wide
        for run in runs:
            assert sum(line.startswith(f"{run['run']} ") for line in table) == 1
        assert all(piece in console.file.getvalue() for piece in pieces)


def test_games_with_their_actions():
    console = screen(False)
    tables.print_games({"pong": 6, "boxing": 18, "[b]": 3}, console=console)
    assert text(console).startswith("3 games, each with its number of actions\n")
    assert text(console).split()[-6:] == ["[b]", "3", "boxing", "18", "pong", "6"]


def test_settings_of_a_student_stand_in_a_line_of_their_own():
    base = SUMMARY["agents"]["net1.7"]
    console = screen(False)
    agents = {name: {**base, **own} for name, own in OWN.items()}
    tables.print_evaluation({**EVALUATION, "agents": agents}, console=console)
    lines = text(console).splitlines()
    for line in lines:
        if any(word in line for word in (" ± ", "29,214")):
            assert "temperature-0.1" not in line and "follow-ema" not in line
    rows = [line.split()[0] for line in lines if "29,214" in line]
    assert rows == ["net1.7", "net1.7#2", "net1.7#3"]  # whole
    assert NOTE in " ".join(text(console).split())
