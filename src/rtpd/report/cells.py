"""Runs side by side: those that differ only in their seed make one cell of game x setting."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from rtpd import envs
from rtpd.envs.baselines import has_baseline, human_normalised, percent_of_teacher, random_score
from rtpd.report import stats
from rtpd.report.gather import RunHistory, source
from rtpd.report.naming import names_of
from rtpd.storage.agent_id import TEACHER, AgentId
from rtpd.storage.manifest import AgentInfo
from rtpd.storage.records import AgentMetrics, Score

EXPERT = 95.0  # % of the teacher


def above_chance(base: float, scores: Sequence[Score]) -> bool:
    """Whether the mean lies two standard errors (over episodes) above random play, `base`."""
    error = math.hypot(*(score.standard_error or 0.0 for score in scores)) / len(scores)
    return float(np.mean([score.mean for score in scores])) - 2 * error > base


@dataclass(frozen=True)
class Trial:
    """One game of one run; its agents go by their names without the game's."""

    run: RunHistory
    game: str

    def agent(self, name: str) -> AgentId:
        """What the run calls an agent of this game."""
        return AgentId(envs.short(self.game) if len(self.run.games) > 1 else "", name)

    @property
    def random_score(self) -> float:
        """What random play scores."""
        return random_score(self.game, self.run.manifest.random_scores)

    @property
    def seed(self) -> int:
        """The run's seed."""
        return self.run.seed

    def own[T](self, rows: Mapping[str, T]) -> dict[str, T]:
        """Of what is said of agents, that of this game's, by their names in it."""
        known, game = self.run.manifest.agents, self.agent(TEACHER).game
        named = ((AgentId.parse(text), row) for text, row in rows.items() if text in known)
        return {agent.name: row for agent, row in named if agent.game == game}

    @property
    def agents(self) -> dict[str, AgentInfo]:
        """The teacher and its students."""
        return self.own(self.run.manifest.agents)

    @property
    def final(self) -> dict[str, Score]:
        """The last evaluation."""
        return self.own(self.run.evaluations[-1].agents)

    def curve(self, agent: str) -> "Curve":
        """Mean returns of all evaluations."""
        found = [(e.step, e.seconds, self.own(e.agents).get(agent)) for e in self.run.evaluations]
        return Curve.of((step, seconds, row.mean) for step, seconds, row in found if row)

    def training_curve(
        self, student: str, metric: Callable[[AgentMetrics], float | None]
    ) -> "Curve":
        """What the lines of training say of a student."""
        found = [(t.step, t.seconds, self.own(t.students).get(student)) for t in self.run.training]
        rows = ((step, seconds, metric(row)) for step, seconds, row in found if row)
        return Curve.of((step, seconds, y) for step, seconds, y in rows if y is not None)

    def arrival(self, agent: str) -> stats.Arrival | None:
        """When this agent's evaluations first stay at 95 % of the final teacher's."""
        curve, teacher = self.curve(agent), self.final.get(TEACHER)
        if teacher is None or not above_chance(self.random_score, [teacher]):
            return None
        return stats.time_to_expert(*curve, teacher.mean, self.random_score, percent=EXPERT)


class Curve(NamedTuple):
    """A number over a run."""

    steps: list[int]
    seconds: list[float]
    values: list[float]

    @classmethod
    def of(cls, points: Iterable[tuple[int, float, float]]) -> "Curve":
        """From (step, seconds, value)."""
        rows = list(points)
        return cls([r[0] for r in rows], [r[1] for r in rows], [r[2] for r in rows])


@dataclass(frozen=True)
class Cell:
    """The evaluated runs of one game under one setting, one a seed."""

    game: str
    setting: str
    trials: tuple[Trial, ...]

    @property
    def agents(self) -> dict[str, AgentInfo]:
        """The teacher, then the students, the largest first."""
        return ordered(self.trials[0].agents)

    @property
    def students(self) -> list[str]:
        """The largest first."""
        return [name for name in self.agents if name != TEACHER]

    @property
    def two_stage(self) -> bool:
        """Whether the teacher was pretrained."""
        return self.trials[0].run.manifest.distilled_from is not None

    @property
    def random_score(self) -> float:
        """What random play scores, on the mean of the runs."""
        return float(np.mean([trial.random_score for trial in self.trials]))

    @property
    def knows_random(self) -> bool:
        """Whether that is known, of the literature or of the runs."""
        measured = (t.run.manifest.random_scores for t in self.trials)
        return has_baseline(self.game) or all(self.game in scores for scores in measured)

    def scores(self, agent: str) -> list[float]:
        """Final mean return for each seed."""
        return [t.final[agent].mean for t in self.trials if agent in t.final]

    def percents(self, agent: str) -> list[float] | None:
        """Each seed's final score as % of the mean final teacher's.

        Of the mean over seeds, since a single teacher close to chance would make any share of it.
        None where that mean cannot be told from random play.
        """
        teachers = [t.final[TEACHER] for t in self.trials if TEACHER in t.final]
        if not teachers or not above_chance(self.random_score, teachers):
            return None
        of_mean, base = float(np.mean(self.scores(TEACHER))), {self.game: self.random_score}
        scores = self.scores(agent)
        found = [percent_of_teacher(self.game, score, of_mean, base) for score in scores]
        return [p for p in found if p is not None] or None

    def row(self, agent: str) -> "AgentResult | None":
        """The agent's line of the main table; None if it was not evaluated."""
        scores, percents, about = self.scores(agent), self.percents(agent), self.agents[agent]
        if not scores:
            return None
        mean = stats.estimate(stats.mean, {self.game: scores})
        percent = float(np.mean(percents)) if percents else None
        human = human_normalised(self.game, mean.value)
        return AgentResult(agent, about, mean, len(scores), percent, human)

    @property
    def rows(self) -> list["AgentResult"]:
        """The main table's lines."""
        return [row for name in self.agents if (row := self.row(name))]


class AgentResult(NamedTuple):
    """Final evaluations of one agent in one cell."""

    agent: str
    about: AgentInfo
    mean: stats.Estimate  # of the mean return, over seeds
    seeds: int
    percent: float | None  # of the teacher
    human: float | None  # human-normalised, a ratio


def smallest_good(rows: Iterable[AgentResult]) -> AgentResult | None:
    """The student with the fewest parameters at 95 % of its teacher, else the best one."""
    known = [(row.percent, row) for row in rows if row.agent != TEACHER and row.percent is not None]
    good = [row for percent, row in known if percent >= EXPERT]
    if good:
        return min(good, key=lambda row: (row.about.parameters, row.agent))
    return max(known, key=lambda pair: pair[0])[1] if known else None


@dataclass(frozen=True)
class Study:
    """All runs of a report."""

    runs: tuple[RunHistory, ...]
    cells: tuple[Cell, ...]  # by game, then by setting
    settings: dict[str, tuple[RunHistory, ...]]  # every run, by the name of its setting
    differing: tuple[str, ...]  # the settings in which they differ
    uncounted: tuple[RunHistory, ...]  # the same setting and seed as another run that went further

    @property
    def games(self) -> list[str]:
        """Every game with an evaluation."""
        return sorted({cell.game for cell in self.cells})

    def of(self, game: str) -> list[Cell]:
        """The cells of a game."""
        return [cell for cell in self.cells if cell.game == game]

    @property
    def students(self) -> list[str]:
        """Names of all students, the largest first."""
        agents = {name: agent for cell in self.cells for name, agent in cell.agents.items()}
        return [name for name in ordered(agents) if name != TEACHER]

    def taught(self, trial: Trial) -> RunHistory | None:
        """The run in which a two-stage run's teacher learnt."""
        return source(trial.run, self.runs)


def study(runs: Sequence[RunHistory]) -> Study:
    """Sort runs into settings and cells."""
    names, differing = names_of([run.settings for run in runs])
    settings: dict[str, list[RunHistory]] = {}
    for run, name in zip(runs, names, strict=True):
        settings.setdefault(name, []).append(run)
    cells, uncounted = [], []
    for name, group in settings.items():
        best: dict[tuple[str, int], RunHistory] = {}
        for run in sorted(group, key=lambda r: (-r.reach, r.order)):
            key = (run.manifest.settings.env, run.seed)
            if best.setdefault(key, run) is not run:
                uncounted.append(run)
        counted = [r for r in group if r in best.values() and r.evaluations]
        for game in sorted({game for run in counted for game in run.games}):
            trials = tuple(Trial(r, game) for r in counted if game in r.games)
            cells.append(Cell(game, name, trials))
    cells.sort(key=lambda cell: (cell.game, cell.setting))
    groups = {name: tuple(settings[name]) for name in sorted(settings)}
    return Study(tuple(runs), tuple(cells), groups, differing, tuple(uncounted))


def ordered(agents: Mapping[str, AgentInfo]) -> dict[str, AgentInfo]:
    """The teacher first, then by size, then by name."""
    order = sorted(agents, key=lambda n: (n != TEACHER, -agents[n].parameters, n))
    return {name: agents[name] for name in order}
