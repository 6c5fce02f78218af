"""The runs of one game, procedure and setting side by side, and how good each agent is in them."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from rtpd.envs.baselines import has_baseline, human_normalised, percent_of_teacher
from rtpd.report import stats
from rtpd.report.naming import TAUGHT_BY, Agent, Settings
from rtpd.report.trials import EXPERT, Trial, above_chance
from rtpd.storage.manifest import AgentInfo
from rtpd.storage.records import Score

REAL_TIME, TWO_STAGES, SCRATCH = "real time", "two stages", "from scratch"
PROCEDURES = (REAL_TIME, TWO_STAGES, SCRATCH)


class Best(NamedTuple):
    """The best teacher of a game in this report, above chance: what all can be measured by."""

    mean: float
    parameters: int


@dataclass(frozen=True)
class Cell:
    """The evaluated runs of one game, procedure and setting, whatever students they have."""

    game: str
    procedure: str
    settings: Settings
    trials: tuple[Trial, ...]
    name: str = ""  # of the setting, among those of the same game and procedure
    best: Best | None = None

    @property
    def label(self) -> str:
        """As in "two stages, 100,000 steps"."""
        return ", ".join(filter(None, (self.procedure, self.name)))

    @cached_property
    def members(self) -> dict[Agent, tuple[Trial, ...]]:
        """The runs of each agent that count, one a seed: the one that went furthest.

        The teacher first, then by size. A net from scratch is no teacher, but called as its net.
        """
        found: dict[Agent, dict[int, Trial]] = {}
        for trial in sorted(self.trials, key=lambda t: (-t.run.reach, t.run.order)):
            for agent in trial.agents:
                if trial.final(agent) is not None:
                    found.setdefault(self._shown(trial, agent), {}).setdefault(trial.seed, trial)
        runs = {agent: tuple(by[seed] for seed in sorted(by)) for agent, by in found.items()}
        sizes = {agent: self.about(agent, runs[agent][0]).parameters for agent in runs}
        order = sorted(runs, key=lambda a: (a != TAUGHT_BY, -sizes[a], a))
        return {agent: runs[agent] for agent in order}

    def _shown(self, trial: Trial, agent: Agent) -> Agent:
        return Agent(trial.about(agent).net or "net") if self.procedure == SCRATCH else agent

    def within(self, agent: Agent) -> Agent:
        """What its runs call an agent."""
        return TAUGHT_BY if self.procedure == SCRATCH else agent

    def about(self, agent: Agent, trial: Trial) -> AgentInfo:
        """What a run's manifest says of an agent."""
        return trial.about(self.within(agent))

    @property
    def learners(self) -> list[Agent]:
        """All but the teacher, the largest first."""
        return [agent for agent in self.members if agent != TAUGHT_BY]

    @property
    def random_score(self) -> float:
        """What random play scores, on the mean of the runs."""
        return float(np.mean([trial.random_score for trial in self.trials]))

    @property
    def knows_random(self) -> bool:
        """Whether that is known, of the literature or of the runs."""
        measured = (t.run.manifest.random_scores for t in self.trials)
        return has_baseline(self.game) or all(self.game in scores for scores in measured)

    def finals(self, agent: Agent) -> list[Score]:
        """The final evaluation of each seed."""
        found = (trial.final(self.within(agent)) for trial in self.members[agent])
        return [score for score in found if score is not None]

    def scores(self, agent: Agent) -> list[float]:
        """Final mean return of each seed."""
        return [score.mean for score in self.finals(agent)]

    def teacher_mean(self, agent: Agent) -> float | None:
        """What 100 % is for an agent; None where that cannot be told from random play.

        The mean final return of the teachers in its own runs: of the mean, since a single teacher
        close to chance would make any share of it. From scratch: the best teacher of the game.
        """
        if self.procedure == SCRATCH:
            return self.best.mean if self.best else None
        finals = [trial.final(TAUGHT_BY) for trial in self.members[agent]]
        known = [score for score in finals if score is not None]
        if not known or not above_chance(self.random_score, known):
            return None
        return float(np.mean([score.mean for score in known]))

    def shares(self, agent: Agent) -> list[float]:
        """Each seed's final score as % of the teacher; nothing of a teacher itself."""
        teacher = self.teacher_mean(agent) if agent != TAUGHT_BY else None
        return self._percents(agent, teacher)

    def of_best(self, agent: Agent) -> list[float]:
        """Each seed's final score as % of the best teacher of the game."""
        return self._percents(agent, self.best.mean if self.best else None)

    def _percents(self, agent: Agent, teacher: float | None) -> list[float]:
        if teacher is None:
            return []
        base = {self.game: self.random_score}
        found = [percent_of_teacher(self.game, s, teacher, base) for s in self.scores(agent)]
        return [percent for percent in found if percent is not None]

    def learnt(self, agent: Agent) -> bool:
        """Whether an agent can be told from random play."""
        return above_chance(self.random_score, self.finals(agent))

    def size(self, agent: Agent) -> float | None:
        """Parameters as a share of the teacher's, from scratch of the best teacher's."""
        about = self.about(agent, self.members[agent][0])
        if self.procedure != SCRATCH:
            return about.share
        known = self.best is not None and self.best.parameters
        return about.parameters / self.best.parameters if known else None

    @cached_property
    def results(self) -> dict[Agent, "Result"]:
        """Final evaluations of every agent."""
        return {agent: self._result(agent) for agent in self.members}

    def _result(self, agent: Agent) -> "Result":
        mean = stats.estimate(stats.mean, {self.game: self.scores(agent)})
        shares = self.shares(agent)
        share = stats.estimate(stats.mean, {self.game: shares}) if shares else None
        about = self.about(agent, self.members[agent][0])
        human = human_normalised(self.game, mean.value)
        return Result(self, agent, about, mean, share, human)


class Result(NamedTuple):
    """The final evaluations of one agent under one setting."""

    cell: Cell
    agent: Agent
    about: AgentInfo
    mean: stats.Estimate  # of the mean return, over seeds
    share: stats.Estimate | None  # % of the teacher
    human: float | None  # human-normalised, a ratio

    @property
    def seeds(self) -> list[int]:
        """In order."""
        return [trial.seed for trial in self.cell.members[self.agent]]


def smallest_good(results: Iterable[Result]) -> Result | None:
    """The agent with the fewest parameters at 95 % of its teacher, else the best one.

    Of equally small ones that with the most seeds, then the best.
    """
    known = [(r.share.value, r) for r in results if r.share is not None]
    good = [pair for pair in known if pair[0] >= EXPERT]
    if good:
        return min(good, key=lambda p: (p[1].about.parameters, -len(p[1].seeds), -p[0]))[1]
    return max(known, key=lambda pair: pair[0])[1] if known else None
