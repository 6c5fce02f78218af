"""What a person sees of a run: a live panel on a terminal, plain lines anywhere else. Floor 3.

The dicts shown here are the lines of metrics.jsonl and the results of an evaluation. Units: steps
are agent steps, seconds are wall seconds of training; `share`, the agreements and
`human_normalised` are ratios, `percent_of_teacher` and its interval percent. Absent, null and
non-finite values show as "-". Foreign text goes through `_clean` into `Text`: what it holds is
read neither as markup nor as control codes.
"""

import io
import math
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TextIO

import rich.live
from rich import box
from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

Row = Mapping[str, Any]
_BLOCKS = "▁▂▃▄▅▆▇█"
_FLAT_NOTE = "! collapsed: no better than one and the same action in every state"


def _clean(text: object) -> str:
    """The text with every control character spelt out, so that it stays on its line."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))


def _show(value: float | None, form: str = ",.0f", unit: str = "") -> str:
    """A number with thousands separators and its unit, or "-" where there is none."""
    return f"{value:z{form}}{unit}" if value is not None and math.isfinite(value) else "-"


def _percent(fraction: float | None, form: str = ".0f") -> str:
    return _show(None if fraction is None else 100 * fraction, form, " %")


def _share(fraction: float | None) -> str:
    """Parameters as a percentage of the teacher's, three digits."""
    return _percent(fraction, ".0f" if fraction is None or fraction >= 1 else ".3g")


def _score(row: Row) -> str:
    """Mean return and its standard error."""
    mean, error = _show(row.get("mean"), ",.1f"), _show(row.get("standard_error"), ",.1f")
    return mean if "-" in (mean, error) else f"{mean} ± {error}"


def _of_teacher(row: Row) -> str:
    """The return as a percentage of the teacher's, with its interval where there is one."""
    low, high = row.get("percent_interval") or (None, None)
    interval = "" if low is None else f" ({_show(low)} to {_show(high)})"
    return _show(row.get("percent_of_teacher"), unit=" %") + interval


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


def _eta(seconds: float | None) -> str:
    """A remaining time, without seconds from ten minutes on: they would only flicker."""
    return duration(seconds if seconds is None or seconds < 600 else seconds // 60 * 60)


def _is_flat(student: Row) -> bool:
    """Whether a student hardly heeds the state, or is no better than one constant action."""
    agreement, constant = student.get("agreement"), student.get("constant_agreement")
    spread = student.get("spread")
    no_better = agreement is not None and constant is not None and agreement <= constant
    return no_better or (spread is not None and spread < 0.01)


def _sparkline(history: list[float], width: int = 6) -> str:
    """The whole history, 0 to 1, in at most `width` blocks; the last block is the newest value."""
    n = min(len(history), width)
    picked = [history[round(i * (len(history) - 1) / max(n - 1, 1))] for i in range(n)]
    return "".join(_BLOCKS[min(max(int(8 * v), 0), 7)] for v in picked).ljust(width)


def _table(headers: Iterable[str], title: str | None = None) -> Table:
    """A borderless table: names left, numbers right, nothing cut off (long cells fold)."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="dim")
    table.padding, table.title_justify = (0, 1, 0, 0), "left"
    table.title = None if title is None else Text(_clean(title), "bold")
    for i, header in enumerate(headers):
        side = "right" if i else "left"
        table.add_column(Text(header), justify=side, overflow="fold", vertical="bottom")
    return table


_COLUMNS: tuple[tuple[str, str, Callable[[Row], str]], ...] = (
    ("parameters", "parameters", lambda r: _show(r.get("parameters"))),
    ("share", "of\nteacher", lambda r: _share(r.get("share"))),
    ("mean", "mean return\n± s.e.", _score),
    ("median", "median\nreturn", lambda r: _show(r.get("median"), ",.1f")),
    ("human_normalised", "human\nscore", lambda r: _percent(r.get("human_normalised"))),
    ("percent_of_teacher", "of teacher's\nreturn", _of_teacher),
    ("agreement", "agree-\nment", lambda r: _percent(r.get("agreement"))),
)


def evaluation_table(rows: Mapping[str, Row], *, title: str) -> Table:
    """One row an agent; a column appears if any row has its key (None shows as "-")."""
    columns = [c for c in _COLUMNS if any(c[0] in row for row in rows.values())]
    table = _table(["agent", *(header for _, header, _ in columns)], title)
    for name, row in rows.items():
        table.add_row(Text(_clean(name)), *(Text(cell(row)) for _, _, cell in columns))
    return table


def print_evaluation(result: Row, *, console: Console | None = None) -> None:
    """The result of `rtpd evaluate`, for people."""
    title = f"{result['env']}  {result['run']}"
    how = f"{_show(result['episodes'])} episodes an agent, epsilon {result['epsilon']:g}"
    note = f"\n{how}, returns unclipped; s.e. = standard error"
    out = console or _console(sys.stdout)
    out.print(Group(evaluation_table(result["agents"], title=title), Text(note, "dim")))


def games_table(games: Mapping[str, int]) -> RenderableType:
    """Every game with its number of actions, in as many columns as fit."""
    wide = max((len(_clean(name)) for name in games), default=0)
    cells = [Text(f"{_clean(name):<{wide}} {n:>3}  ") for name, n in sorted(games.items())]
    head = Text(f"{len(cells):,} games, each with its number of actions\n", "bold")
    return Group(head, Columns(cells, column_first=True, padding=(0, 1)))


def error_line(error: BaseException) -> str:
    """The one line by which the command line reports an error."""
    return f"rtpd: error: {_clean(error) or type(error).__name__}"


def _start_lines(info: Row) -> list[str]:
    """What will be run: the limits, the agents, what it costs."""
    limits = [_show(info["steps"], unit=" steps")] if info.get("steps") else []
    limits += [duration(60 * info["minutes"])] if info.get("minutes") else []
    start = info.get("start_step") or 0
    setting = [f"{key} {info[key]}" for key in ("preset", "seed", "device") if key in info]
    setting += [" or ".join(limits)] + ([f"resumed at step {start:,}"] if start else [])
    lines = [f"{info['env']} -> {info['run']}", "  " + ", ".join(filter(None, setting))]
    for name, agent in info["agents"].items():
        size = f"{_show(agent.get('parameters'))} parameters ({_share(agent.get('share'))})"
        loss = f", loss {agent['loss']}" if agent.get("loss") else ""
        lines.append(f"  {name}: {agent.get('net', '-')}, {size}{loss}")
    return [_clean(line) for line in (*lines, *(f"  {note}" for note in info.get("notes", ())))]


def _facts(record: Row) -> list[str]:
    """How far, how fast and how greedy."""
    return [
        _show(record.get("step"), unit=" steps"),
        _show(record.get("steps_per_second"), unit=" steps/s"),
        f"epsilon {_show(record.get('epsilon'), '.2f')}",
    ]


def _record_line(info: Row, record: Row) -> str:
    """One record in one line."""
    step, speed, epsilon = _facts(record)
    if record["kind"] == "eval":
        agents = record["agents"].items()
        scores = (f"{n} {_score(row)} ({_show(row.get('episodes'))} episodes)" for n, row in agents)
        return _clean("  ".join((step, "evaluation: mean return ± s.e.", *scores)))
    done, eta = progress(info, record)
    parts = [step, _percent(done, ".1f"), speed, f"ETA {_eta(eta)}", epsilon]
    parts.append(f"teacher return {_show((record.get('teacher') or {}).get('return'), ',.1f')}")
    for name, row in (record.get("students") or {}).items():
        constant = f"(constant {_percent(row.get('constant_agreement'))})"
        mark = " !" if _is_flat(row) else ""
        parts.append(f"{name} agree {_percent(row.get('agreement'))} {constant}{mark}")
    return _clean("  ".join(parts))


class Monitor:
    """What `train` tells of its progress. This base says nothing; `Live` and `Plain` speak."""

    def start(self, info: Row) -> None:
        """A run begins (or goes on, from `info["start_step"]`)."""

    def phase(self, text: str) -> None:
        """What is being done now, until the next phase or the next record of training."""

    def record(self, record: Row) -> None:
        """One line of metrics.jsonl, of kind "train" or "eval"."""

    def warn(self, text: str) -> None:
        """Something a person should know, in one line that stays."""

    def finish(self, summary: Row) -> None:
        """The run is over or interrupted: how it went and what to type next."""

    def close(self) -> None:
        """Give the terminal back, whatever happened; calling it twice is harmless."""


Quiet = Monitor


class Plain(Monitor):
    """One line a record, without control codes: for files, pipes and dumb terminals."""

    def __init__(self, console: Console) -> None:
        """`console` is where the lines go."""
        self._console = console
        self._info: Row = {}

    def _print(self, *lines: str, style: str = "") -> None:
        for line in lines:
            self._console.print(Text(line, style), soft_wrap=True)

    def start(self, info: Row) -> None:
        """Print what will be run."""
        self._info = info
        self._print(*_start_lines(info))

    def phase(self, text: str) -> None:
        """Print the phase."""
        self._print(f"... {_clean(text)}")

    def record(self, record: Row) -> None:
        """Print the record in one line."""
        self._print(_record_line(self._info, record))

    def warn(self, text: str) -> None:
        """Print the warning."""
        self._print(f"warning: {_clean(text)}", style="yellow")

    def finish(self, summary: Row) -> None:
        """Print the last table and what to type next."""
        self.close()
        steps = _show(summary.get("step"), unit=" steps")
        frames = _show(summary.get("frames"), unit=" frames")
        how = f"{summary['status']}: {steps}, {frames}, {duration(summary.get('seconds'))}"
        table = evaluation_table(summary["agents"], title=f"{summary['run']}  {how}")
        self._console.print("", table, "", sep="\n")
        self._print(*(f"next: {_clean(line)}" for line in summary.get("next", ())))


class Live(Plain):
    """One calm panel on a terminal, drawn again twice a second."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` gives seconds; tests pass their own."""
        super().__init__(console)
        self._clock, self._phase, self._since = clock, "starting", clock()
        self._train: Row = {}
        self._scores: Row = {}
        self._history: dict[str, list[float]] = {}
        self._live = rich.live.Live(self, console=console, refresh_per_second=2, transient=True)

    def start(self, info: Row) -> None:
        """Print what will be run and open the panel under it."""
        super().start(info)
        self._live.start()

    def phase(self, text: str) -> None:
        """Show the phase and for how long it has been going on."""
        self._phase, self._since = text, self._clock()

    def record(self, record: Row) -> None:
        """Take the record into the panel."""
        if record["kind"] == "eval":
            self._scores = {**self._scores, **record["agents"]}
        else:
            self._train = record
        if record.get("updates", True):  # not in the warm-up
            self._phase, self._since = "training", self._clock() - (record.get("seconds") or 0.0)
        for name, row in (record.get("students") or {}).items():
            if row.get("agreement") is not None:
                self._history.setdefault(name, []).append(row["agreement"])

    def close(self) -> None:
        """Take the panel away."""
        self._live.stop()

    def _agents(self) -> Table:
        students, teacher = self._train.get("students") or {}, self._train.get("teacher") or {}
        heads = "train\nreturn", "eval return\nmean ± s.e.", "agreement\n(one action)"
        table = _table(("agent", "parameters", "of\nteacher", *heads))
        for name, agent in self._info.get("agents", {}).items():
            row = students.get(name, teacher if name == "teacher" else {})
            flat = _is_flat(row)
            agreement = Text(f"{_percent(row.get('agreement')):>5} ")
            agreement.append(_sparkline(self._history.get(name, [])), "cyan")
            agreement.append(f" {_percent(row.get('constant_agreement')):>5}", "dim")
            table.add_row(
                Text(_clean(name) + " !" * flat, "yellow" if flat else "bold"),
                _show(agent.get("parameters")),
                _share(agent.get("share")),
                _show(row.get("return"), ",.1f"),
                _score(self._scores.get(name, {})),
                agreement,
            )
        return table

    def __rich__(self) -> Panel:
        """The panel as it is now; rich calls this from its own thread."""
        done, eta = progress(self._info, self._train)
        head = Table.grid(padding=(0, 2, 0, 0), expand=True)
        head.add_column(ratio=1)
        bar = ProgressBar(total=1.0, completed=done or 0.0)
        head.add_row(bar, _percent(done, ".1f"), f"ETA {_eta(eta)}")
        now = f"{_clean(self._phase)}, {duration(self._clock() - self._since)}"
        episodes = _show(self._train.get("episodes"), unit=" episodes")
        facts = [*_facts(self._train), episodes, now] if self._train else [now]
        body: list[RenderableType] = [head, Text("   ".join(facts)), "", self._agents()]
        if any(_is_flat(row) for row in (self._train.get("students") or {}).values()):
            body.append(Text(_FLAT_NOTE, "yellow"))
        title = Text(_clean(f"{self._info.get('env', '')}  {self._info.get('run', '')}"), "bold")
        panel = Panel(Group(*body), box=box.HORIZONTALS, padding=0, title=title, title_align="left")
        panel.width = min(self._console.width, 100)
        return panel


def _console(stream: TextIO) -> Console:
    """A console that writes to `stream`, and "?" for what its encoding lacks."""
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="replace")
    tty = stream.isatty()
    return Console(file=stream, force_terminal=tty, highlight=False, emoji=False, markup=False)


def monitor(stream: TextIO | None = None, *, quiet: bool = False) -> Monitor:
    """The monitor that suits `stream` (standard output): a panel, plain lines, or nothing."""
    if quiet:
        return Quiet()
    console = _console(stream or sys.stdout)
    return Live(console) if console.is_terminal and not console.is_dumb_terminal else Plain(console)
