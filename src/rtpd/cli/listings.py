"""Commands that tell what there is: zoo, ls, report, games, teachers, completion."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, override

import tyro

from rtpd.cli import tables
from rtpd.cli.command import Command
from rtpd.cli.run_table import print_runs
from rtpd.errors import RequestError


@dataclass(frozen=True)
class ZooCommand(Command):
    """List the students that come with rtpd, with their scores and their teachers'.

    `zoo:GAME/NAME` is one of them wherever rtpd asks for an agent: play, evaluate, export, distill.
    """

    json: bool = False
    """print the cards as JSON instead of a table"""

    @override
    def execute(self) -> int:
        from rtpd.agents.zoo import catalogue

        tables.print_result(catalogue(), tables.print_zoo, as_json=self.json)
        return 0


@dataclass(frozen=True)
class LsCommand(Command):
    """List the runs in a folder, the newest first: how far each is, and its last evaluation.

    A run that was killed can be gone on with: `rtpd train --resume RUN`.
    """

    folder: tyro.conf.Positional[Path] = Path("runs")
    """runs are looked for at any depth"""
    json: bool = False
    """print JSON instead of a table"""

    @override
    def execute(self) -> int:
        from rtpd.storage.listing import runs

        tables.print_result(runs(self.folder), print_runs, as_json=self.json)
        return 0


@dataclass(frozen=True)
class ReportCommand(Command):
    """Write one HTML page about runs, the same as Markdown beside it, and every figure as SVG.

    Runs that differ only in their seed are put together; a run still going on is marked as such.
    """

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """run folders, or folders that hold some at any depth (default: runs)"""
    out: Path = Path("report.html")
    """the page, NAME.html; report.md and report-figures/ are written beside it"""
    clip: bool = True
    """let each game's teacher and its smallest good student play side by side (Atari)"""

    @override
    def execute(self) -> int:
        runs = self.runs or tuple(filter(Path.is_dir, [Path("runs")]))
        if not runs:
            raise RequestError(
                "no run folder given, and there is no folder 'runs': rtpd report DIR..."
            )
        from rtpd.report import report

        written = report(runs, self.out, clip=self.clip)
        tables.print_report(written.tables)
        print(f"\n{written.html} (also {written.markdown}, {written.pictures}/)")
        return 0


@dataclass(frozen=True)
class GamesCommand(Command):
    """List the Atari games that come with ale-py, with their number of actions."""

    json: bool = False
    """print JSON instead of a table"""

    @override
    def execute(self) -> int:
        from rtpd.envs.ale import games

        tables.print_result(games(), tables.print_games, as_json=self.json)
        return 0


@dataclass(frozen=True)
class TeachersCommand(Command):
    """List the teachers, each with its paper, what it learns from, and the preset that uses it.

    `rtpd train pong --preset c51` trains with the paper's settings, `rtpd train pong --teacher c51`
    with those of your device. With --file: what an agent of any program is, and whether it can
    teach.
    """

    file: Path | None = None
    """tell of this file instead: of Stable-Baselines3, CleanRL, ONNX, or of rtpd"""
    measure: bool = False
    """also measure how fast each is on this machine (some minutes; close what else is running)"""
    seconds: float = 10.0
    """wall time of each measurement"""
    json: bool = False
    """print JSON instead of a table"""

    @override
    def execute(self) -> int:
        if self.file is not None:
            from rtpd.agents.formats.description import describe

            tables.print_result(describe(self.file), tables.print_teacher, as_json=self.json)
            return 0
        tables.print_result(self._found(), tables.print_teachers, as_json=self.json)
        return 0

    def _found(self) -> dict[str, dict[str, Any]]:
        if not self.measure:
            from rtpd.learning.teachers.catalogue import catalogue

            return catalogue()
        from rtpd.system.compile_cache import keep_compiled
        from rtpd.training.bench import teachers

        keep_compiled()
        return teachers(seconds=self.seconds, tell=tables.tell)


@dataclass(frozen=True)
class CompletionCommand(Command):
    """Print what a shell must read to complete commands, flags, games and presets."""

    shell: tyro.conf.Positional[str]
    """bash"""

    @override
    def execute(self) -> int:
        from rtpd.cli.completion import script

        print(script(self.shell))
        return 0
