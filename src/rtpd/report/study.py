"""All runs of a report, sorted into cells of game, procedure and setting."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from rtpd.report.cells import PROCEDURES, REAL_TIME, SCRATCH, TWO_STAGES, Best, Cell, Result
from rtpd.report.gather import RunHistory, defaults, source
from rtpd.report.naming import TAUGHT_BY, Agent, setting_names
from rtpd.report.trials import Trial


@dataclass(frozen=True)
class Study:
    """All runs of a report."""

    runs: tuple[RunHistory, ...]
    cells: tuple[Cell, ...]  # by game, then by procedure, then by setting
    sources: Mapping[Path, RunHistory]  # in which run a two-stage run's teacher learnt, if known

    @property
    def games(self) -> list[str]:
        """Every game with an evaluation."""
        return sorted({cell.game for cell in self.cells})

    def of(self, game: str) -> list[Cell]:
        """The cells of a game."""
        return [cell for cell in self.cells if cell.game == game]

    @property
    def learners(self) -> list[Agent]:
        """All students and nets from scratch, the largest first."""
        sizes: dict[Agent, int] = {}
        for cell in self.cells:
            for agent in cell.learners:
                size = cell.results[agent].about.parameters
                sizes[agent] = max(size, sizes.get(agent, 0))
        return sorted(sizes, key=lambda agent: (-sizes[agent], agent))

    @property
    def uncounted(self) -> list[RunHistory]:
        """Runs of which others of the same setting and seed have gone further, or as far."""
        members = [trial for cell in self.cells for row in cell.members.values() for trial in row]
        counted = {trial.run.path for trial in members}
        return [run for run in self.runs if run.evaluations and run.path not in counted]

    def panels(self, game: str) -> list[list[Cell]]:
        """The cells of a game, each real-time one with those that belong beside it.

        Two stages of the same teachers, and nets from scratch under the same settings.
        """
        cells = self.of(game)
        panels = [[cell] for cell in cells if cell.procedure == REAL_TIME]
        for cell in cells:
            if cell.procedure != REAL_TIME:
                own = next((p for p in panels if self._beside(p[0], cell)), None)
                panels.append([cell]) if own is None else own.append(cell)
        return panels

    def _beside(self, first: Cell, other: Cell) -> bool:
        if other.procedure == TWO_STAGES:
            theirs = [self.sources.get(trial.run.path) for trial in other.trials]
            paths = {trial.run.path for trial in first.trials}
            return any(run is not None and run.path in paths for run in theirs)
        aside = ("student.", "teacher.net")
        return all(
            {k: v for k, v in first.settings.items() if not k.startswith(aside)}.get(key) == value
            for key, value in other.settings.items()
            if not key.startswith(aside)
        )


def study(runs: Sequence[RunHistory]) -> Study:
    """Sort runs into cells."""
    found = {run.path: source(run, runs) for run in runs if run.manifest.distilled_from}
    sources = {path: run for path, run in found.items() if run is not None}
    tables = {run.path: _settings(run, sources.get(run.path)) for run in runs}
    trials = [Trial(run, game) for run in runs if run.evaluations for game in run.games]
    keys = {id(t): (t.game, tuple(sorted(tables[t.run.path].items()))) for t in trials}
    teaching = {keys[id(t)] for t in trials if not t.alone and not t.run.manifest.distilled_from}
    groups: dict[tuple[str, str, tuple[tuple[str, str], ...]], list[Trial]] = {}
    for trial in trials:
        game, table = keys[id(trial)]
        alone = trial.alone and keys[id(trial)] not in teaching
        distilled = trial.run.manifest.distilled_from is not None
        procedure = SCRATCH if alone else TWO_STAGES if distilled else REAL_TIME
        if alone:  # the net is the agent there, and no setting
            table = tuple(pair for pair in table if pair[0] != "teacher.net")
        groups.setdefault((game, procedure, table), []).append(trial)
    cells = [Cell(g, p, dict(table), tuple(rows)) for (g, p, table), rows in groups.items()]
    cells = [cell for cell in cells if cell.members]
    best = {cell.game: _best(c for c in cells if c.game == cell.game) for cell in cells}
    cells = [replace(cell, best=best[cell.game]) for cell in cells]
    return Study(tuple(runs), tuple(_named(cells)), sources)


def _settings(run: RunHistory, taught: RunHistory | None) -> dict[str, str]:
    """A run's settings; of two stages with those of its teacher, where they are known."""
    if taught is None:
        return run.settings
    theirs = {k: v for k, v in taught.settings.items() if k.startswith("teacher.")}
    return run.settings | theirs | {"teacher.steps": taught.settings["steps"]}


def _best(cells: Iterable[Cell]) -> Best | None:
    """The best mean of a teacher that can be told from chance."""
    teachers = [c.results[TAUGHT_BY] for c in cells if TAUGHT_BY in c.members]
    teachers = [row for row in teachers if row.cell.learnt(row.agent)]
    if not teachers:
        return None
    best = max(teachers, key=lambda row: row.mean.value)
    return Best(best.mean.value, best.about.parameters)


def _named(cells: list[Cell]) -> list[Cell]:
    """With short names of their settings, in their order."""
    place = PROCEDURES.index
    cells = sorted(cells, key=lambda c: (c.game, place(c.procedure), sorted(c.settings.items())))
    named: list[Cell] = []
    for _, group in groupby(cells, key=lambda c: (c.game, c.procedure)):
        rows = list(group)
        names = names_of(rows)
        pairs = zip(rows, names, strict=True)
        named += sorted((replace(cell, name=name) for cell, name in pairs), key=lambda c: c.name)
    return named


def names_of(cells: Sequence[Cell]) -> list[str]:
    """Short names that tell the settings of a procedure apart."""
    tables, variants = [cell.settings for cell in cells], [variant(cell) for cell in cells]
    return setting_names(tables, variants, cells[0].procedure, defaults())


def variant(cell: Cell) -> str:
    """What a suite calls the runs of a cell; empty if they have several names, or one has none."""
    names = {trial.run.variant for trial in cell.trials}
    return names.pop() if len(names) == 1 else ""


def results(cells: Iterable[Cell]) -> list[Result]:
    """The learners of cells."""
    return [cell.results[agent] for cell in cells for agent in cell.learners]
