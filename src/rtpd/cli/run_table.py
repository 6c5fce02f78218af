"""The table of `rtpd ls`: a run a line, in as many columns as there is room for."""

import sys
from collections.abc import Iterable

from rich.console import Console, Group
from rich.text import Text

from rtpd.storage.agent_id import AgentId
from rtpd.system.formatting import WIDE, Row, add_row, percent, plain_table, show, terminal
from rtpd.training.progress import progress

# Those that come first need the most room.
_COLUMNS = (
    ("run", "game", "state", "steps", "done", "teacher", "students"),
    ("run", "game", "state", "done", "teacher", "students"),
    ("run", "game", "state", "done", "teacher", "best student"),
    ("run", "state", "done", "teacher", "best student"),
    ("run", "state", "teacher", "best student"),
)


def print_runs(runs: Iterable[Row], *, console: Console | None = None) -> None:
    """Every run in a line: its state, how far it is, the returns of its last evaluation."""
    rows = [_cells(run) for run in runs]
    out = console or terminal(sys.stdout)
    unbounded = out.options.update(max_width=WIDE)
    for heads in _COLUMNS:
        table = plain_table(heads)
        for row in rows:
            add_row(table, (row[head] for head in heads))
        if out.measure(table, options=unbounded).maximum <= out.width:
            break
    stopped = any(row["state"] in ("killed", "interrupted") for row in rows)
    hint = "rtpd train --resume RUN goes on with one; " if stopped else ""
    note = f"\n{hint}returns are those of the last evaluation; rtpd report RUN... tells more"
    out.print(Group(table, Text(note, "dim")))


def _cells(run: Row) -> dict[str, str]:
    """What is told of a run, by the head of the column."""
    done, _ = progress(run, run) if run["state"] != "finished" else (1.0, 0.0)
    return {
        "run": run["run"],
        "game": str(run["env"] or "-").removeprefix("ale/"),
        "state": run["state"],
        "steps": show(run["step"]),
        "done": percent(done),
        "teacher": show(run["teacher"], ",.1f"),
        **_best_student(run),
    }


def _best_student(run: Row) -> dict[str, str]:
    """The best of a run's students; of several games, whose returns do not compare, how many."""
    means = {name: mean for name, mean in run["students"].items() if mean is not None}
    games = {AgentId.parse(name).game for name in means}
    if len(games) > 1:
        return {"students": f"{len(means)} in {len(games)} games", "best student": "-"}
    if not means:
        return {"students": "-", "best student": "-"}
    name = max(means, key=lambda name: means[name])
    best, short = show(means[name], ",.1f"), run.get("short", {}).get(name, name)
    of_all = f" (best of {len(means)})" if len(means) > 1 else ""
    return {"students": f"{short} {best}{of_all}", "best student": best}
