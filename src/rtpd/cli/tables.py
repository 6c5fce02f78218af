"""Results of commands as tables for people; `--json` prints the same results as they are."""

import json
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any

from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.text import Text

from rtpd.errors import clean
from rtpd.storage.files import finite
from rtpd.system.formatting import (
    Row,
    add_row,
    count,
    percent,
    plain_table,
    score,
    share,
    show,
    terminal,
)
from rtpd.system.streams import json_stream
from rtpd.training.progress import evaluation_table, settings_notes, short


def print_result[T](result: T, print_it: Callable[[T], object], *, as_json: bool) -> None:
    """Print a result for people, or as JSON."""
    if as_json:
        print(json.dumps(finite(result), indent=2, allow_nan=False), file=json_stream.get())
    else:
        print_it(result)


def tell(text: str) -> None:
    """What is being done, beside the result."""
    print(f"... {text}", file=sys.stderr)


def _print(*parts: RenderableType, note: str, console: Console | None) -> None:
    """Print a result with what is to be known of it below."""
    (console or terminal(sys.stdout)).print(Group(*parts, Text(note, "dim")))


def print_evaluation(result: Row, *, console: Console | None = None) -> None:
    """The result of `rtpd evaluate`, for people."""
    title = f"{result['env']}  {result['run']}"
    how = f"{count(result['episodes'], 'episode')} an agent, epsilon {result['epsilon']:g}"
    note = f"\n{how}, returns unclipped; s.e. = standard error"
    for name, row in result["agents"].items():
        if row.get("cut_off"):
            cut = f"{count(row['cut_off'], 'episode')} did not end, cut off"
            note += f"\n{short(name, result['agents'])}: {cut}"
    note = "".join(f"\n{line}" for line in settings_notes(result["agents"])) + note
    if result.get("distilled_from"):
        note += f"\nteacher: {clean(result['distilled_from'])}"
    if card := result.get("card"):
        note = f"\n{_card_line(card)}{note}"
    _print(evaluation_table(result["agents"], title=title), note=note, console=console)


def _card_line(card: Row) -> str:
    """Whether the score agrees with that of the card."""
    said = f"its card: {score(card)} over {show(card['episodes'])} episodes"
    if card["holds"] is None:
        return f"{said} with epsilon {card['epsilon']:g}, which is another game"
    words = "as the card says" if card["holds"] else "NOT as the card says"
    difference, allowed = (show(card[key], ",.1f") for key in ("difference", "allowed"))
    return f"{words}: {said}; difference {difference}, chance allows {allowed}"


def print_play(result: Row, *, console: Console | None = None) -> None:
    """The result of `rtpd play`, for people."""
    who = result["agent"] + (f" (asked: {result['versus']})" if result["versus"] else "")
    table = plain_table(["episode", "return", "steps"], f"{result['env']}  {who}")
    for i, (total, steps) in enumerate(zip(result["returns"], result["lengths"], strict=True), 1):
        add_row(table, (i, show(total, ",g"), show(steps)))
    lines = []
    if len(result["returns"]) > 1:
        lines.append(f"mean return {score(result)}")
    if result["agreement"] is not None:
        steps = show(result["steps"])
        lines.append(
            f"same greedy action on {percent(result['agreement'], '.1f')} of {steps} steps"
        )
    if result["file"]:
        lines.append(f"wrote {clean(result['file'])}")
    lines.append(f"epsilon {result['epsilon']:g}, returns unclipped")
    note = "\n".join(["", *lines])
    _print(*([table] if result["returns"] else []), note=note, console=console)


def print_zoo(cards: Mapping[str, Row], *, console: Console | None = None) -> None:
    """Every student of the zoo: its score, its teacher's, its size."""
    heads = ["student", "mean return\n± s.e.", "teacher's", "human\nscore", "parameters",
             "of\nteacher"]  # fmt: skip
    table = plain_table(heads)
    for name, card in cards.items():
        of_teacher = share(card["parameters"] / card["teacher"]["parameters"])
        row = [score(card), score(card["teacher"]), percent(card["human_normalised"]),
               show(card["parameters"]), of_teacher]  # fmt: skip
        add_row(table, (name, *row))
    note = "\nrtpd play zoo:GAME/NAME; human score: 0 % random play, 100 % people"
    _print(table, note=note, console=console)


def print_export(result: Row, *, console: Console | None = None) -> None:
    """The result of `rtpd export`, for people."""
    what = [result["env"], result["agent"], result["format"]]
    table = plain_table(["", "JAX", "exported"], "  ".join(what))
    rows = [("size", "", show(result["bytes"], unit=" bytes"))]
    rows += [(key, "", show(result[f"{key}_bytes"], unit=" bytes"))
             for key in ("flash", "ram") if result.get(f"{key}_bytes") is not None]  # fmt: skip
    for name in ("median", "p99"):
        microseconds = result[f"latency_{name}_us"]
        rows.append(
            (f"latency, one frame, one thread, {name}", "", show(microseconds, ".1f", " us"))
        )
    rows.append(("same greedy action", "", percent(result["agreement"], ".2f")))
    rows.append(("... or tied", "", percent(result["agreement_or_tied"], ".2f")))
    rows.append(("largest difference of an output", "", show(result["max_difference"], ".2g")))
    rows.append(("mean return ± s.e.", score(result["original"]), score(result["exported"])))
    for row in rows:
        add_row(table, row)
    note = (
        f"\n{show(result['frames'])} frames of its own play, "
        f"{count(result['episodes'], 'episode')}, epsilon {result['epsilon']:g}; "
        f"wrote {clean(result['file'])}"
    )
    _print(table, note=note, console=console)


def print_report(tables: Mapping[str, Any], *, console: Console | None = None) -> None:
    """The main table of a report in parts, each under its setting: .head and .rows of text."""
    out = console or terminal(sys.stdout)
    for setting, part in tables.items():
        # A word a line, but "95 %" stays together: fits 80 columns.
        table = plain_table([re.sub(r"(?<!\d) ", "\n", head) for head in part.head[1:]], setting)
        for row in part.rows:
            add_row(table, row[1:])
        out.print(table, "", sep="\n")


def print_games(games: Mapping[str, int], *, console: Console | None = None) -> None:
    """Every game with its number of actions, in as many columns as fit."""
    wide = max((len(clean(name)) for name in games), default=0)
    cells = [Text(f"{clean(name):<{wide}} {n:>3}  ") for name, n in sorted(games.items())]
    head = Text(f"{len(cells):,} games, each with its number of actions\n", "bold")
    out = console or Console()  # as many columns as fit 80 characters where there is no terminal
    out.print(Group(head, Columns(cells, column_first=True, padding=(0, 1))))


def print_teachers(teachers: Mapping[str, Row], *, console: Console | None = None) -> None:
    """Every teacher, what it learns from and takes, and how fast it is where that was measured."""
    headers = ["teacher", "paper", "learns from", "outputs\n/ action", "preset", "replay"]
    measured = any("loop_steps_per_second" in row for row in teachers.values())
    table = plain_table([*headers, "update", "with a\nstudent"] if measured else headers)
    for name, row in teachers.items():
        cells = [row["paper"], f"a {row['regime']}", show(row["atoms"]), row["preset"]]
        cells.append(show(row["replay_bytes"] / 1e9, ".2f", " GB"))
        if measured:
            cells.append(show(row.get("update_ms"), ".1f", " ms"))
            cells.append(show(row.get("loop_steps_per_second"), unit=" steps/s"))
        add_row(table, (name, *cells))
    (console or terminal(sys.stdout)).print(table)


def print_teacher(found: Row, *, console: Console | None = None) -> None:
    """What is in an agent's file, a line for each fact that is known."""
    facts = {**found, "teaches": "yes" if found["teaches"] else "no"}
    facts |= {"command": None, "needs": None}
    if found["teaches"] and found["answers"] is None:
        facts["answers"] = "q or logits, as --teacher-output says"
    told = {key: value for key, value in facts.items() if value is not None}
    lines = [Text(f"{key:<12}{clean(value)}") for key, value in told.items()]
    if found["command"]:
        lines.append(Text(f"\n{clean(found['command'])}"))
    for name, allowed in found["needs"].items():
        lines.append(Text(f"  {name.rpartition('-')[2].upper()}: {allowed}"))
    (console or terminal(sys.stdout)).print(Group(*lines))


def print_bench(result: Row, *, console: Console | None = None) -> None:
    """The result of `rtpd bench`, for people."""
    families = result["families"]
    speed = plain_table(
        ["students", "update", "of the matrix\nproduct's rate", "loop", "of no students\n(range)"],
        f"{result['env']}, {result['teacher']}, "
        f"{count(result['num_envs'], 'env')}, {result['cadence']}",
    )
    parts = list(next(iter(families.values()))["milliseconds_per_iteration"])
    spent = plain_table(["students", *parts, "sum", "loop"], "ms per step of all envs, each alone")
    for name, row in families.items():
        low, high = min(row["ratios"]), max(row["ratios"])
        ratio = f"{percent(row['ratio'])} ({show(100 * low)} to {show(100 * high)})"
        cells = [
            f"{show(row['update_ms'], '.1f')} ms",
            f"{percent(row['share_of_matmul'])} ({show(row['update_gflops'])} GFLOP/s)",
            show(row["loop_steps_per_second"], unit=" steps/s"),
            ratio if name != "none" else "-",
        ]
        add_row(speed, (name, *cells))
        times = row["milliseconds_per_iteration"]
        loop = 1e3 * result["num_envs"] / row["loop_steps_per_second"]
        spent_on = [*times.values(), sum(times.values()), loop]
        add_row(spent, (name, *(show(each, ".2f") for each in spent_on)))
    note = (
        f"\nmatrix product {show(result['matmul_gflops'])} GFLOP/s (f32), "
        f"emulator alone {show(result['emulator_steps_per_second'])} agent steps/s"
    )
    _print(speed, Text(), spent, note=note, console=console)
