"""`rtpd ls`: a line a run."""

import io

from rich.console import Console

from rtpd.cli.run_table import print_runs


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
        print_runs(runs, console=console)
        lines = console.file.getvalue().splitlines()
        table = lines[: lines.index("")]
        assert len(table) == 2 + len(runs), table
        assert max(map(len, lines)) <= wide
        for run in runs:
            assert sum(line.startswith(f"{run['run']} ") for line in table) == 1
        assert all(piece in console.file.getvalue() for piece in pieces)
