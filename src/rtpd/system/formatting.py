"""How numbers, records and tables look to a person.

The dicts shown here are the lines of metrics.jsonl and the results of an evaluation. Units: steps
are agent steps, seconds are wall seconds of training; `share`, the agreements and
`human_normalised` are ratios, `percent_of_teacher` and its interval percent. Absent, null and
non-finite values show as "-". Foreign text goes through `clean` into `Text`: what it holds is
read neither as markup nor as control codes.
"""

import io
import math
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TextIO

from rich import box
from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from rtpd.errors import MOST_CHARACTERS, clean, shortened

Row = Mapping[str, Any]
_BLOCKS = "▁▂▃▄▅▆▇█"
WIDE = 1000  # characters, where nobody looks
FLAT_NOTE = "! collapsed: its outputs hardly differ from state to state"


def show(value: float | None, form: str = ",.0f", unit: str = "") -> str:
    """A number with thousands separators and its unit, or "-" where there is none."""
    return f"{value:z{form}}{unit}" if value is not None and math.isfinite(value) else "-"


def count(number: float | None, noun: str) -> str:
    """A number of things: "1 episode", "30 episodes"."""
    return f"{show(number)} {noun}{'' if number == 1 else 's'}"


def percent(fraction: float | None, form: str = ".0f") -> str:
    """A fraction as a percentage, or "-"."""
    return show(None if fraction is None else 100 * fraction, form, " %")


def share(fraction: float | None) -> str:
    """Parameters as a percentage of the teacher's, three digits."""
    return percent(fraction, ".0f" if fraction is None or fraction >= 1 else ".3g")


def score(row: Row) -> str:
    """Mean return and its standard error."""
    mean, error = show(row.get("mean"), ",.1f"), show(row.get("standard_error"), ",.1f")
    return mean if "-" in (mean, error) else f"{mean} ± {error}"


def of_teacher(row: Row) -> str:
    """The return as a percentage of the teacher's, with its interval where there is one."""
    low, high = row.get("percent_interval") or (None, None)
    interval = "" if low is None else f" ({show(low)} to {show(high)})"
    return show(row.get("percent_of_teacher"), unit=" %") + interval


def duration(seconds: float | None) -> str:
    """Seconds as "45 s", "12 min 30 s" or "3 h 5 min"."""
    if seconds is None or not math.isfinite(seconds):
        return "-"
    minutes, rest = divmod(round(max(seconds, 0)), 60)
    hours, minutes = divmod(minutes, 60)
    parts = ((hours, "h"), (minutes, "min"), (0 if hours else rest, "s"))
    return " ".join(f"{n} {unit}" for n, unit in parts if n) or "0 s"


def progress(info: Row, record: Row) -> tuple[float | None, float | None]:
    """Fraction done and seconds left, by the limit (steps or minutes) that is reached first."""
    limits = []
    if info.get("steps"):
        step = record.get("step") or info.get("start_step") or 0
        speed = record.get("steps_per_second")
        left = max(info["steps"] - step, 0)
        eta = left / speed if speed else (math.inf if left else 0.0)
        limits.append((eta, step / info["steps"]))
    if info.get("minutes"):
        total, seconds = 60 * info["minutes"], record.get("seconds") or 0.0
        limits.append((max(total - seconds, 0.0), seconds / total))
    if not limits:
        return None, None
    eta, done = min(limits)
    return min(done, 1.0), eta if math.isfinite(eta) else None


def eta_text(seconds: float | None) -> str:
    """A remaining time, without seconds from ten minutes on: they would only flicker."""
    return duration(seconds if seconds is None or seconds < 600 else seconds // 60 * 60)


def is_flat(student: Row) -> bool:
    """Whether a student hardly heeds the state.

    That is so if its outputs hardly vary. To keep less of the teacher's advantage than one constant
    action says it only together with small variation: where one action is nearly always best it is
    so now and then for students that play well.
    """
    kept, constant = student.get("advantage_kept"), student.get("constant_advantage_kept")
    spread = student.get("spread")
    no_better = kept is not None and constant is not None and kept <= constant
    return spread is not None and spread < (0.1 if no_better else 0.01)


def sparkline(history: list[float], width: int = 6) -> str:
    """The whole history, 0 to 1, in at most `width` blocks; the last block is the newest value."""
    n = min(len(history), width)
    picked = [history[round(i * (len(history) - 1) / max(n - 1, 1))] for i in range(n)]
    return "".join(_BLOCKS[min(max(int(8 * v), 0), 7)] for v in picked).ljust(width)


def plain_table(headers: Iterable[str], title: str | None = None) -> Table:
    """A borderless table: names left, numbers right, nothing cut off (long cells fold)."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="dim")
    table.padding, table.title_justify = (0, 1, 0, 0), "left"
    table.title = None if title is None else Text(clean(title), "bold")
    for i, header in enumerate(headers):
        side = "right" if i else "left"
        table.add_column(Text(header), justify=side, overflow="fold", vertical="bottom")
    return table


_COLUMNS: tuple[tuple[str, str, Callable[[Row], str]], ...] = (
    ("parameters", "parameters", lambda r: show(r.get("parameters"))),
    ("share", "of\nteacher", lambda r: share(r.get("share"))),
    ("mean", "mean return\n± s.e.", score),
    ("median", "median\nreturn", lambda r: show(r.get("median"), ",.1f")),
    ("human_normalised", "human\nscore", lambda r: percent(r.get("human_normalised"))),
    ("percent_of_teacher", "of teacher's\nreturn", of_teacher),
)


def short(name: str, agents: Mapping[str, Row]) -> str:
    """What lines and tables call an agent: without its own settings; see `settings_notes`."""
    return clean(agents.get(name, {}).get("short") or name)


def settings_notes(agents: Mapping[str, Row]) -> list[str]:
    """A line for each agent whose name in tables is not the one to type."""
    notes = []
    for name, row in agents.items():
        own = row.get("settings")
        if row.get("short") and isinstance(own, list):
            what = clean(", ".join(map(str, own)))
            notes.append(f"{short(name, agents)}: {what}; its name: {clean(name)}")
    return notes


def evaluation_table(rows: Mapping[str, Row], *, title: str | None = None) -> Table:
    """One row an agent; a column appears if any row has its key (None shows as "-")."""
    columns = [c for c in _COLUMNS if any(c[0] in row for row in rows.values())]
    table = plain_table(["agent", *(header for _, header, _ in columns)], title)
    table.columns[0].min_width = min(max((len(short(n, rows)) for n in rows), default=0), 16)
    for name, row in rows.items():
        table.add_row(Text(short(name, rows)), *(Text(cell(row)) for _, _, cell in columns))
    return table


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
    if card := result.get("card"):
        note = f"\n{_card_line(card)}{note}"
    out = console or terminal(sys.stdout)
    out.print(Group(evaluation_table(result["agents"], title=title), Text(note, "dim")))


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
        table.add_row(str(i), show(total, ",g"), show(steps))
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
    out = console or terminal(sys.stdout)
    out.print(Group(*([table] if result["returns"] else []), Text("\n".join(["", *lines]), "dim")))


def runs_table(runs: Iterable[Row]) -> RenderableType:
    """Every run: its state, how far it is, the mean returns of its last evaluation."""
    table = plain_table(["run", "game", "state", "steps", "done", "teacher", "students"])
    killed = False
    for run in runs:
        brief = run.get("short", {})
        means = ((brief.get(name, name), mean) for name, mean in run["students"].items())
        students = "\n".join(f"{clean(name)} {show(mean, ',.1f')}" for name, mean in means)
        done, _ = progress(run, run) if run["state"] != "finished" else (1.0, 0.0)
        killed |= run["state"] in ("killed", "interrupted")
        row = [str(run["env"] or "-").removeprefix("ale/"), run["state"], show(run["step"]),
               percent(done), show(run["teacher"], ",.1f")]  # fmt: skip
        cells = (clean(cell) for cell in (run["run"], *row))
        table.add_row(*map(Text, cells), Text(students or "-"))
    hint = "rtpd train --resume RUN goes on with one; " if killed else ""
    note = f"\n{hint}returns are those of the last evaluation; rtpd report RUN... tells more"
    return Group(table, Text(note, "dim"))


def zoo_table(cards: Mapping[str, Row]) -> RenderableType:
    """Every student of the zoo: its score, its teacher's, its size."""
    heads = ["student", "mean return\n± s.e.", "teacher's", "human\nscore", "parameters",
             "of\nteacher", "bytes"]  # fmt: skip
    table = plain_table(heads)
    for name, card in cards.items():
        row = [score(card), score(card["teacher"]), percent(card["human_normalised"]),
               show(card["parameters"]), share(card["parameters"] / card["teacher"]["parameters"]),
               show(card["bytes"])]  # fmt: skip
        table.add_row(*(Text(clean(cell)) for cell in (name, *row)))
    note = "\nrtpd play zoo:GAME/NAME; human score: 0 % random play, 100 % people"
    return Group(table, Text(note, "dim"))


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
    rows.append(("largest difference of a Q-value", "", show(result["max_difference"], ".2g")))
    rows.append(("mean return ± s.e.", score(result["original"]), score(result["exported"])))
    for row in rows:
        table.add_row(*(Text(clean(cell)) for cell in row))
    note = (
        f"\n{show(result['frames'])} frames of its own play, "
        f"{count(result['episodes'], 'episode')}, epsilon {result['epsilon']:g}; "
        f"wrote {clean(result['file'])}"
    )
    out = console or terminal(sys.stdout)
    out.print(Group(table, Text(note, "dim")))


def print_report(tables: Mapping[str, Any], *, console: Console | None = None) -> None:
    """The main table of a report in parts, each under its setting: .head and .rows of text."""
    out = console or terminal(sys.stdout)
    for setting, part in tables.items():
        # A word a line, but "95 %" stays together: fits 80 columns.
        table = plain_table([re.sub(r"(?<!\d) ", "\n", head) for head in part.head[1:]], setting)
        for row in part.rows:
            table.add_row(*(Text(clean(cell)) for cell in row[1:]))
        out.print(table, "", sep="\n")


def games_table(games: Mapping[str, int]) -> RenderableType:
    """Every game with its number of actions, in as many columns as fit."""
    wide = max((len(clean(name)) for name in games), default=0)
    cells = [Text(f"{clean(name):<{wide}} {n:>3}  ") for name, n in sorted(games.items())]
    head = Text(f"{len(cells):,} games, each with its number of actions\n", "bold")
    return Group(head, Columns(cells, column_first=True, padding=(0, 1)))


def teachers_table(teachers: Mapping[str, Row]) -> Table:
    """Every teacher, what it learns from and takes, and how fast it is where that was measured."""
    headers = ["teacher", "paper", "learns from", "outputs per\naction", "preset", "replay"]
    measured = any("loop_steps_per_second" in row for row in teachers.values())
    table = plain_table([*headers, "update", "with a\nstudent"] if measured else headers)
    for name, row in teachers.items():
        cells = [row["paper"], f"a {row['regime']}", show(row["atoms"]), row["preset"]]
        cells.append(show(row["replay_bytes"] / 1e9, ".2f", " GB"))
        if measured:
            cells.append(show(row.get("update_ms"), ".1f", " ms"))
            cells.append(show(row.get("loop_steps_per_second"), unit=" steps/s"))
        table.add_row(Text(clean(name)), *(Text(clean(cell)) for cell in cells))
    return table


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
        speed.add_row(
            Text(clean(name)),
            f"{show(row['update_ms'], '.1f')} ms",
            f"{percent(row['share_of_matmul'])} ({show(row['update_gflops'])} GFLOP/s)",
            show(row["loop_steps_per_second"], unit=" steps/s"),
            ratio if name != "none" else "-",
        )
        times = row["milliseconds_per_iteration"]
        loop = 1e3 * result["num_envs"] / row["loop_steps_per_second"]
        cells = [*times.values(), sum(times.values()), loop]
        spent.add_row(Text(clean(name)), *(show(cell, ".2f") for cell in cells))
    note = (
        f"\nmatrix product {show(result['matmul_gflops'])} GFLOP/s (f32), "
        f"emulator alone {show(result['emulator_steps_per_second'])} agent steps/s"
    )
    out = console or terminal(sys.stdout)
    out.print(Group(speed, Text(), spent, Text(note, "dim")))


def error_line(error: BaseException) -> str:
    """The one line by which the command line reports an error."""
    text = shortened(str(error).strip(), MOST_CHARACTERS)
    return f"rtpd: error: {clean(text) or type(error).__name__}"


def start_lines(info: Row) -> list[str]:
    """What will be run: the limits, the agents, what it costs."""
    limits = [show(info["steps"], unit=" steps")] if info.get("steps") else []
    limits += [duration(60 * info["minutes"])] if info.get("minutes") else []
    start = info.get("start_step") or 0
    keys = (key for key in ("preset", "seed", "device") if info.get(key) is not None)
    setting = [f"{key} {info[key]}" for key in keys]
    if info.get("teacher"):  # a preset is named after one teacher, and serves others too
        preset = f" (settings of preset {info['preset']})" if info.get("preset") else ""
        setting = [f"teacher {info['teacher']}{preset}", *setting[bool(info.get("preset")) :]]
    setting += [" or ".join(limits)] + ([f"resumed at step {start:,}"] if start else [])
    lines = [f"{info['env']} -> {info['run']}", "  " + ", ".join(filter(None, setting))]
    for name, agent in info["agents"].items():
        size = f"{show(agent.get('parameters'))} parameters ({share(agent.get('share'))})"
        loss = f", loss {agent['loss']}" if agent.get("loss") else ""
        lines.append(f"  {short(name, info['agents'])}: {agent.get('net', '-')}, {size}{loss}")
    lines += [f"  {line}" for line in settings_notes(info["agents"])]
    return [clean(line) for line in (*lines, *(f"  {note}" for note in info.get("notes", ())))]


def teachers_of(record: Row) -> Mapping[str, Row]:
    """The teachers in a line of training, by agent: one for each game."""
    return record.get("teachers") or {"teacher": record.get("teacher") or {}}


def record_facts(record: Row) -> list[str]:
    """How far, how fast and how greedy."""
    return [
        show(record.get("step"), unit=" steps"),
        show(record.get("steps_per_second"), unit=" steps/s"),
        f"epsilon {show(record.get('epsilon'), '.2f')}",
    ]


def record_line(info: Row, record: Row) -> str:
    """One record in one line."""
    step, speed, epsilon = record_facts(record)
    known = info.get("agents", {})
    if record["kind"] == "eval":
        scores = (
            f"{short(name, known)} {score(row)} ({count(row.get('episodes'), 'episode')})"
            for name, row in record["agents"].items()
        )
        return clean("  ".join((step, "evaluation: mean return ± s.e.", *scores)))
    done, eta = progress(info, record)
    parts = [step, percent(done, ".1f"), speed, f"ETA {eta_text(eta)}", epsilon]
    for name, row in teachers_of(record).items():
        parts.append(f"{name} return {show(row.get('return'), ',.1f')}")
    before = ""
    for name, row in (record.get("students") or {}).items():
        mean = "constant_advantage_kept" not in row and "advantage_kept" in row  # of all games
        than = "" if mean else f" (constant {percent(row.get('constant_advantage_kept'))})"
        kept = f"{short(name, known)} keeps {percent(row.get('advantage_kept'))}"
        # Students of one teacher are compared with the same constant policy: told once in a row.
        parts.append(f"{kept}{than if than != before else ''}{' !' * is_flat(row)}")
        before = than
    return clean("  ".join(parts))


def terminal(stream: TextIO) -> Console:
    """A console that writes to `stream`, and "?" for what its encoding lacks."""
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="replace")
    tty = stream.isatty()
    # A file or a pipe has no width, so nothing is folded there.
    width = None if tty or "COLUMNS" in os.environ else WIDE
    return Console(
        file=stream, force_terminal=tty, width=width, highlight=False, emoji=False, markup=False
    )
