"""One game of one run: who learnt in it, what they scored, and when."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from rtpd import envs
from rtpd.envs.baselines import random_score
from rtpd.report.arrival import Arrival, time_to_expert
from rtpd.report.gather import RunHistory
from rtpd.report.naming import TAUGHT_BY, Agent, agent_of
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
    """One game of one run."""

    run: RunHistory
    game: str

    def name_of(self, agent: Agent) -> AgentId | None:
        """What the run calls an agent; None if it has no such agent."""
        return self.agents.get(agent)

    @cached_property
    def agents(self) -> dict[Agent, AgentId]:
        """The teacher, `TAUGHT_BY`, and its students."""
        found: dict[Agent, AgentId] = {}
        game = envs.short(self.game) if len(self.run.games) > 1 else ""
        for text, about in self.run.manifest.agents.items():
            name = AgentId.parse(text)
            if name.game != game:
                continue
            agent = TAUGHT_BY if name.name == TEACHER else agent_of(name.name, about)
            if agent in found:  # named by hand: two of a kind
                agent = Agent(agent.net, (*agent.how, name.name))
            found[agent] = name
        return found

    @property
    def alone(self) -> bool:
        """Whether the teacher has no students, and so is none."""
        return set(self.agents) == {TAUGHT_BY} and self.run.manifest.distilled_from is None

    def about(self, agent: Agent) -> AgentInfo:
        """What the manifest says of one of its agents."""
        return self.run.manifest.agents[str(self.agents[agent])]

    @property
    def random_score(self) -> float:
        """What random play scores."""
        return random_score(self.game, self.run.manifest.random_scores)

    @property
    def seed(self) -> int:
        """The run's seed."""
        return self.run.seed

    def final(self, agent: Agent) -> Score | None:
        """How an agent did in the last evaluation."""
        name = self.agents.get(agent)
        if name is None or not self.run.evaluations:
            return None
        return self.run.evaluations[-1].agents.get(str(name))

    def curve(self, agent: Agent) -> "Curve":
        """Mean returns of all evaluations."""
        name = str(self.agents.get(agent))
        found = [(e.step, e.seconds, e.agents.get(name)) for e in self.run.evaluations]
        return Curve.of((step, seconds, row.mean) for step, seconds, row in found if row)

    def training_curve(
        self, student: Agent, metric: Callable[[AgentMetrics], float | None]
    ) -> "Curve":
        """What the lines of training say of a student."""
        name = str(self.agents.get(student))
        found = [(t.step, t.seconds, t.students.get(name)) for t in self.run.training]
        rows = ((step, seconds, metric(row)) for step, seconds, row in found if row)
        return Curve.of((step, seconds, y) for step, seconds, y in rows if y is not None)

    def arrival(self, agent: Agent) -> Arrival | None:
        """When this agent's evaluations first stay at 95 % of the final teacher's."""
        curve, teacher = self.curve(agent), self.final(TAUGHT_BY)
        if teacher is None or not above_chance(self.random_score, [teacher]):
            return None
        return time_to_expert(*curve, teacher.mean, self.random_score, percent=EXPERT)


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
