"""What is told of a run while it goes on and at its end: its start, a line a record, its agents.

The dicts shown here are the lines of metrics.jsonl and the results of an evaluation. Units: steps
are agent steps, seconds are wall seconds of training; `share`, the agreements and
`human_normalised` are ratios, `percent_of_teacher` and its interval percent.
"""

import math
from collections.abc import Callable, Mapping

from rich.table import Table
from rich.text import Text

from rtpd.errors import clean
from rtpd.system.formatting import (
    Row,
    count,
    duration,
    eta_text,
    percent,
    plain_table,
    score,
    share,
    show,
)

FLAT_NOTE = "! collapsed: its outputs hardly differ from state to state"
_BLOCKS = "▁▂▃▄▅▆▇█"


def start_lines(info: Row) -> list[str]:
    """What will be run: the limits, the agents, what it costs."""
    limits = [show(info["steps"], unit=" steps")] if info.get("steps") else []
    limits += [duration(60 * info["minutes"])] if info.get("minutes") else []
    start = info.get("start_step") or 0
    keys = (key for key in ("preset", "seed", "device") if info.get(key) is not None)
    setting = [f"{key} {info[key]}" for key in keys]
    if info.get("teacher"):  # a preset is named after one teacher, and serves others too
        preset = f" (settings of preset {info['preset']})" if info.get("preset") else ""
        given = f", {info['distilled_from']}" if info.get("distilled_from") else ""
        setting = [
            f"teacher {info['teacher']}{given}{preset}",
            *setting[bool(info.get("preset")) :],
        ]
    setting += [" or ".join(limits)] + ([f"resumed at step {start:,}"] if start else [])
    lines = [f"{info['env']} -> {info['run']}", "  " + ", ".join(filter(None, setting))]
    for name, agent in info["agents"].items():
        size = f"{show(agent.get('parameters'))} parameters ({share(agent.get('share'))})"
        size = size if agent.get("parameters") else "of unknown size"
        loss = f", loss {agent['loss']}" if agent.get("loss") else ""
        lines.append(f"  {short(name, info['agents'])}: {agent.get('net', '-')}, {size}{loss}")
    lines += [f"  {line}" for line in settings_notes(info["agents"])]
    return [clean(line) for line in (*lines, *(f"  {note}" for note in info.get("notes", ())))]


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


def record_facts(record: Row) -> list[str]:
    """How far, how fast and how greedy."""
    return [
        show(record.get("step"), unit=" steps"),
        show(record.get("steps_per_second"), unit=" steps/s"),
        f"epsilon {show(record.get('epsilon'), '.2f')}",
    ]


def teachers_of(record: Row) -> Mapping[str, Row]:
    """The teachers in a line of training, by agent: one for each game."""
    return record.get("teachers") or {"teacher": record.get("teacher") or {}}


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


def of_teacher(row: Row) -> str:
    """The return as a percentage of the teacher's, with its interval where there is one."""
    low, high = row.get("percent_interval") or (None, None)
    interval = "" if low is None else f" ({show(low)} to {show(high)})"
    return show(row.get("percent_of_teacher"), unit=" %") + interval


_COLUMNS: tuple[tuple[str, str, Callable[[Row], str]], ...] = (
    ("parameters", "parameters", lambda r: show(r.get("parameters"))),
    ("share", "of\nteacher", lambda r: share(r.get("share"))),
    ("mean", "mean return\n± s.e.", score),
    ("median", "median\nreturn", lambda r: show(r.get("median"), ",.1f")),
    ("human_normalised", "human\nscore", lambda r: percent(r.get("human_normalised"))),
    ("percent_of_teacher", "of teacher's\nreturn", of_teacher),
)


def evaluation_table(rows: Mapping[str, Row], *, title: str | None = None) -> Table:
    """One row an agent; a column appears if any row has its key (None shows as "-")."""
    columns = [c for c in _COLUMNS if any(c[0] in row for row in rows.values())]
    table = plain_table(["agent", *(header for _, header, _ in columns)], title)
    table.columns[0].min_width = min(max((len(short(n, rows)) for n in rows), default=0), 16)
    for name, row in rows.items():
        table.add_row(Text(short(name, rows)), *(Text(cell(row)) for _, _, cell in columns))
    return table


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
