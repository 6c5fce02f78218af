"""How a suite is told of: a table that changes on a terminal, lines anywhere else; its results."""

import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from rtpd.errors import clean
from rtpd.suite.rows import OVER, TrackedRun, described, seconds_left
from rtpd.system.formatting import (
    Row,
    add_row,
    eta_text,
    percent,
    plain_table,
    score,
    show,
    terminal,
)

STYLES = {"running": "bold", "failed": "red", "interrupted": "yellow", "waiting": "dim"}
FRAME_LINES = 5  # of the live table beside its rows


class Lines:
    """A line whenever a run changes its state, has done another tenth, or has been evaluated."""

    def __init__(self, console: Console) -> None:
        """`console` is where the lines go."""
        self._console = console
        self._told: dict[str, object] = {}

    def update(self, rows: Sequence[TrackedRun]) -> None:
        """Tell what has changed; the first time, how much there is to do."""
        if not self._told:
            self._console.print(Text(totals(rows)), soft_wrap=True)
        for run in map(described, rows):
            tenths = int(10 * (run["done"] or 0.0))
            about = (run["state"], run["resumed"], tenths, run["evaluation"])
            if self._told.setdefault(run["name"], about) != about:
                self._told[run["name"]] = about
                line = Text(clean(_line(run)), STYLES.get(run["state"], ""))
                self._console.print(line, soft_wrap=True)

    def close(self) -> None:
        """Give the terminal back, whatever happened; calling it twice is harmless."""


class Panel(Lines):
    """One table of all runs, drawn again at every update."""

    def __init__(self, console: Console) -> None:
        """Open the table."""
        super().__init__(console)
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._live.start()

    def update(self, rows: Sequence[TrackedRun]) -> None:
        """Draw it."""
        shown = _most_telling(rows, max(self._console.height - FRAME_LINES, 1))
        hidden = len(rows) - len(shown)
        last = totals(rows) + (f"; {hidden} of them not shown" if hidden else "")
        runs = [described(row) for row in shown]
        self._live.update(Group(table(runs), Text(f"\n{last}", "bold")), refresh=True)

    def close(self) -> None:
        """Take the table away."""
        self._live.stop()


def board(stream: TextIO) -> Lines:
    """The board that suits `stream`."""
    console = terminal(stream)
    live = console.is_terminal and not console.is_dumb_terminal
    return Panel(console) if live else Lines(console)


def table(runs: Iterable[Row]) -> Table:
    """A line a run, with the mean returns of its newest evaluation; no column that says nothing."""
    heads = ["run", "state", "steps", "done", "steps/s", "ETA", "mean returns"]
    rows, styles = [], []
    for run in runs:
        returns = ", ".join(f"{name} {mean}" for name, mean in _scores(run).items())
        speed, left = show(run["steps_per_second"]), eta_text(run["seconds_left"])
        done = [show(run["steps"]), percent(run["done"]), speed, left, returns]
        rows.append([run["name"], _state(run), *done])
        styles.append(STYLES.get(run["state"], ""))
    told = [i for i in range(len(heads)) if any(row[i] not in ("", "-") for row in rows)]
    made = plain_table([heads[i] for i in told])
    for column in made.columns[:-1]:
        column.no_wrap = True
    for row, style in zip(rows, styles, strict=True):
        add_row(made, (row[i] for i in told), style)
    return made


def totals(rows: Sequence[TrackedRun]) -> str:
    """How many runs are in which state, and when all will be done."""
    states = Counter(row.state for row in rows)
    line = f"{len(rows)} runs: " + ", ".join(f"{n} {state}" for state, n in states.items())
    going = any(row.state not in OVER for row in rows)
    return line + (f"; ETA {eta_text(seconds_left(rows))}" if going else "")


def print_result(result: Row, *, console: Console | None = None) -> None:
    """The result of `rtpd suite`, for people."""
    out = console or terminal(sys.stdout)
    if result["status"] == "planned":
        out.print(Group(table(result["runs"]), Text()))
    if result["results"]:
        made = plain_table(["game", "variant", "agent", "seeds", "mean return\n± s.e. over seeds"])
        for row in result["results"]:
            cells = (row["game"], row["variant"], row["agent"], show(row["seeds"]), score(row))
            add_row(made, cells)
        out.print(Group(made, Text()))
    for run in result["runs"]:
        if run["state"] in ("failed", "interrupted"):
            why = f": {run['note']}" if run["note"] else ""
            line = f"{run['state']}: {run['name']}{why} (its log: {run['log']})"
            out.print(Text(clean(line), STYLES[run["state"]]), soft_wrap=True)
    for line in result["next"]:
        out.print(Text(clean(f"next: {line}")), soft_wrap=True)


def _line(run: Row) -> str:
    """A run in one line."""
    parts = [run["name"], _state(run), f"{show(run['step'])} of {show(run['steps'])} steps"]
    if run["steps_per_second"]:
        parts.append(show(run["steps_per_second"], unit=" steps/s"))
        parts.append(f"ETA {eta_text(run['seconds_left'])}")
    parts += [f"{name} {mean}" for name, mean in _scores(run).items()]
    return "  ".join(parts) + (f"  ({run['note']})" if run["note"] else "")


def _state(run: Row) -> str:
    return run["state"] + (f" (resumed {run['resumed']})" if run["resumed"] else "")


def _scores(run: Row) -> dict[str, str]:
    """Mean returns of the newest evaluation, by agent."""
    return {name: show(agent.get("mean"), ",.1f") for name, agent in run["evaluation"].items()}


def _most_telling(rows: Sequence[TrackedRun], room: int) -> list[TrackedRun]:
    """As many rows as fit, in their order: what runs or failed before what waits or is done."""
    order = ("running", "failed", "interrupted", "waiting", "finished")
    ranked = sorted(range(len(rows)), key=lambda i: order.index(rows[i].state))
    return [rows[i] for i in sorted(ranked[:room])]
