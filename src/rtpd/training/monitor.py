"""Who is told of a run's progress: a live panel on a terminal, plain lines anywhere else."""

import sys
import time
from collections.abc import Callable
from typing import TextIO

import rich.live
from rich import box
from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from rtpd.errors import clean
from rtpd.system.formatting import (
    Row,
    duration,
    eta_text,
    percent,
    plain_table,
    score,
    share,
    show,
    terminal,
)
from rtpd.training.progress import (
    FLAT_NOTE,
    evaluation_table,
    is_flat,
    progress,
    record_facts,
    record_line,
    settings_notes,
    short,
    sparkline,
    start_lines,
    teachers_of,
)


class Monitor:
    """What `train` tells of its progress. This base says nothing; `Live` and `Plain` speak."""

    def start(self, info: Row) -> None:
        """A run begins (or goes on, from `info["start_step"]`)."""

    def phase(self, text: str) -> None:
        """What is being done now, until the next phase or the next record of training."""

    def playing(self, played: int, of: int) -> None:
        """So many episodes `of` those of the final evaluation have ended."""

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
        self._quarters = 0  # of the final evaluation

    def _print(self, *lines: str, style: str = "") -> None:
        for line in lines:
            self._console.print(Text(line, style), soft_wrap=True)

    def start(self, info: Row) -> None:
        """Print what will be run."""
        self._info = info
        self._print(*start_lines(info))

    def phase(self, text: str) -> None:
        """Print the phase."""
        self._print(f"... {clean(text)}")

    def playing(self, played: int, of: int) -> None:
        """Print a line a quarter."""
        if played < of and 4 * played // of > self._quarters:
            self._quarters = 4 * played // of
            self._print(f"... final evaluation: {played:,} of {of:,} episodes")

    def record(self, record: Row) -> None:
        """Print the record in one line."""
        self._print(record_line(self._info, record))

    def warn(self, text: str) -> None:
        """Print the warning."""
        self._print(f"warning: {clean(text)}", style="yellow")

    def finish(self, summary: Row) -> None:
        """Print the last table and what to type next."""
        self.close()
        steps = show(summary.get("step"), unit=" steps")
        frames = show(summary.get("frames"), unit=" frames")
        how = f"{summary['status']}: {steps}, {frames}, {duration(summary.get('seconds'))}"
        if summary.get("evaluation_seconds"):
            how += f" and {duration(summary['evaluation_seconds'])} of final evaluation"
        if summary.get("peak_bytes"):
            how += ", " + show(summary["peak_bytes"] / 1e9, ".2f", " GB of memory")
        self._print("", clean(f"{summary['run']}  {how}"), style="bold")
        self._console.print(evaluation_table(summary["agents"]))
        if summary.get("distilled_from"):
            self._print(clean(f"teacher: {summary['distilled_from']}"))
        self._print(*settings_notes(summary["agents"]), "")
        self._print(*(f"next: {clean(line)}" for line in summary.get("next", ())))


class Live(Plain):
    """One calm panel on a terminal, drawn again twice a second."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` gives seconds; tests pass their own."""
        super().__init__(console)
        self._clock, self._phase, self._since = clock, "starting", clock()
        self._played = 0, 0  # episodes of the final evaluation
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
        self._phase, self._since, self._played = text, self._clock(), (0, 0)

    def playing(self, played: int, of: int) -> None:
        """Show how far it is."""
        self._played = played, of

    def record(self, record: Row) -> None:
        """Take the record into the panel."""
        if record["kind"] == "eval":
            self._scores = {**self._scores, **record["agents"]}
        else:
            self._train = record
        if record.get("updates", True):  # not in the warm-up
            self._phase, self._since = "training", self._clock() - (record.get("seconds") or 0.0)
        for name, row in (record.get("students") or {}).items():
            if row.get("advantage_kept") is not None:
                self._history.setdefault(name, []).append(row["advantage_kept"])

    def close(self) -> None:
        """Take the panel away."""
        self._live.stop()

    def _agents(self) -> Table:
        rows = {**teachers_of(self._train), **(self._train.get("students") or {})}
        heads = "train\nreturn", "eval return\nmean ± s.e.", "advantage kept\n(one action)"
        table = plain_table(("agent", "parameters", "of\nteacher", *heads))
        known = self._info.get("agents", {})
        for name in dict.fromkeys([*known, *(name for name in rows if name in self._history)]):
            agent, row = known.get(name, {}), rows.get(name, {})
            flat = is_flat(row)
            kept = Text(f"{percent(row.get('advantage_kept')):>5} ")
            kept.append(sparkline(self._history.get(name, [])), "cyan")
            kept.append(f" {percent(row.get('constant_advantage_kept')):>5}", "dim")
            table.add_row(
                Text(short(name, known) + " !" * flat, "yellow" if flat else "bold"),
                show(agent.get("parameters")),
                share(agent.get("share")),
                show(row.get("return"), ",.1f"),
                score(self._scores.get(name, {})),
                kept,
            )
        return table

    def __rich__(self) -> Panel:
        """The panel as it is now; rich calls this from its own thread."""
        done, eta = progress(self._info, self._train)
        here, (played, of) = self._clock() - self._since, self._played
        if of:
            done, eta = played / of, here * (of - played) / played if played else None
        head = Table.grid(padding=(0, 2, 0, 0), expand=True)
        head.add_column(ratio=1)
        bar = ProgressBar(total=1.0, completed=done or 0.0)
        head.add_row(bar, percent(done, ".1f"), f"ETA {eta_text(eta)}")
        now = f"{clean(self._phase)}, {duration(here)}"
        if of:
            now += f", {played:,} of {of:,} episodes"
        episodes = show(self._train.get("episodes"), unit=" episodes")
        facts = [*record_facts(self._train), episodes, now] if self._train else [now]
        body: list[RenderableType] = [head, Text("   ".join(facts)), "", self._agents()]
        if any(is_flat(row) for row in (self._train.get("students") or {}).values()):
            body.append(Text(FLAT_NOTE, "yellow"))
        title = Text(clean(f"{self._info.get('env', '')}  {self._info.get('run', '')}"), "bold")
        panel = Panel(Group(*body), box=box.HORIZONTALS, padding=0, title=title, title_align="left")
        panel.width = min(self._console.width, 100)
        return panel


def monitor(stream: TextIO | None = None, *, quiet: bool = False) -> Monitor:
    """The monitor that suits `stream` (standard output): a panel, plain lines, or nothing."""
    if quiet:
        return Quiet()
    console = terminal(stream or sys.stdout)
    return Live(console) if console.is_terminal and not console.is_dumb_terminal else Plain(console)
