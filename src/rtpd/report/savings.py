"""How much sooner students are experts in real time than in two stages, over all games."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from rtpd.report import stats
from rtpd.report.arrival import Arrival
from rtpd.report.blocks import Block, Heading, Table, Text
from rtpd.report.cells import EXPERT, REAL_TIME, TWO_STAGES
from rtpd.report.naming import TAUGHT_BY, Agent
from rtpd.report.study import Study
from rtpd.report.words import game_name, middle, with_interval
from rtpd.system.formatting import show

ABOUT = (
    f"Until a student first stays at {EXPERT:g} % of its final teacher's return, in real time as a "
    "share of what two stages of the same teachers take: all of the teacher's training and as much "
    "of the second stage as it needed (as measured), or as if the second stage had been as long as "
    "the first, which is at most 50 % for whoever arrives at all. Geometric means over games, with "
    "95 % stratified bootstrap intervals over seeds: as measured of the seeds that got there both "
    "ways, else of those that got there in real time, or in the second stage. Where few did, it "
    "tells of those few."
)
HEAD = ("student", "steps, as measured", "time, as measured", "steps, a second stage as long",
        "second stage, % of the teacher's steps", "seeds that arrived: real time", "two stages",
        "both", "games")  # fmt: skip
BY_GAME = ("game and student", "real time", "second stage alone", "teacher's steps",
           "real time, % of both stages", "seeds that arrived: real time", "two stages",
           )  # fmt: skip


class Pair(NamedTuple):
    """One student of one teacher, in real time and in two stages."""

    game: str
    agent: Agent
    teacher_steps: int
    teacher_seconds: float | None
    real: Arrival | None
    second: Arrival | None  # counted from the start of the second stage

    @property
    def both(self) -> bool:
        """Whether it arrived both ways."""
        return self.real is not None and self.second is not None

    @property
    def steps(self) -> float | None:
        """Agent steps of real time, % of those of two stages as measured."""
        if self.real is None or self.second is None:
            return None
        return 100 * self.real.steps / (self.teacher_steps + self.second.steps)

    @property
    def seconds(self) -> float | None:
        """Wall time of real time, % of that of two stages as measured."""
        if self.real is None or self.second is None or not self.teacher_seconds:
            return None
        return 100 * self.real.seconds / (self.teacher_seconds + self.second.seconds)

    @property
    def as_long(self) -> float | None:
        """Agent steps of real time, % of those of two stages of equal length."""
        return None if self.real is None else 100 * self.real.steps / (2 * self.teacher_steps)

    @property
    def second_stage(self) -> float | None:
        """Agent steps of the second stage, % of the teacher's."""
        return None if self.second is None else 100 * self.second.steps / self.teacher_steps


def pairs(study: Study) -> list[Pair]:
    """Every student of a two-stage run whose teacher had the same net beside it in real time."""
    there = {
        (cell.game, trial.run.path): trial
        for cell in study.cells if cell.procedure == REAL_TIME
        for trial in cell.trials
    }  # fmt: skip
    found = []
    for cell in study.cells:
        if cell.procedure != TWO_STAGES:
            continue
        for agent in cell.learners:
            for trial in cell.members[agent]:
                source = study.sources.get(trial.run.path)
                first = there.get((cell.game, source.path)) if source else None
                steps = source.manifest.step if source else None
                if source is None or first is None or not steps or agent not in first.agents:
                    continue
                real, second = first.arrival(agent), trial.arrival(agent)
                found.append(Pair(cell.game, agent, steps, source.seconds, real, second))
    return [pair for pair in found if pair.agent != TAUGHT_BY]


def section(study: Study) -> list[Block]:
    """A row a student over all games, then one a game; nothing where nothing can be compared."""
    found = pairs(study)
    if len({pair.game for pair in found}) < 2:
        return []
    agents = [agent for agent in study.learners if any(pair.agent == agent for pair in found)]
    over = [_over(agent, [pair for pair in found if pair.agent == agent]) for agent in agents]
    games = dict.fromkeys((pair.game, pair.agent) for pair in found)
    lines = [_of_game([p for p in found if (p.game, p.agent) == key]) for key in sorted(games)]
    return [
        Heading("Time to expert over games", 3), Text(ABOUT),
        Table(HEAD, tuple(over), 1, "Time to expert over games", 1).without_empty(),
        Table(BY_GAME, tuple(lines), 1, "Time to expert by game", 1).without_empty(),
    ]  # fmt: skip


def _over(agent: Agent, found: Sequence[Pair]) -> tuple[str, ...]:
    return (
        agent.label,
        *(_mean(found, what) for what in ("steps", "seconds", "as_long", "second_stage")),
        *_arrived(found), f"{sum(pair.both for pair in found)} of {len(found)}",
        str(len({pair.game for pair in found})),
    )  # fmt: skip


def _mean(found: Sequence[Pair], what: str) -> str:
    """The geometric mean over games of a share of these pairs, where it is known."""
    known: dict[str, list[float]] = {}
    for pair in found:
        value = getattr(pair, what)
        if value:
            known.setdefault(pair.game, []).append(value)
    form = ",.0f"
    return with_interval(stats.estimate(stats.geometric_mean, known), form, " %") if known else "-"


def _arrived(found: Sequence[Pair]) -> tuple[str, str]:
    real, second = (sum(at is not None for at in way) for way in zip(
        *((pair.real, pair.second) for pair in found), strict=True))  # fmt: skip
    return f"{real} of {len(found)}", f"{second} of {len(found)}"


def _of_game(found: Sequence[Pair]) -> tuple[str, ...]:
    shares = [pair.steps for pair in found if pair.steps is not None]
    return (
        f"{game_name(found[0].game)}, {found[0].agent.label}",
        middle([float(pair.real.steps) for pair in found if pair.real], "steps"),
        middle([float(pair.second.steps) for pair in found if pair.second], "steps"),
        middle([float(pair.teacher_steps) for pair in found], "steps"),
        show(float(np.median(shares)), ",.0f", " %") if shares else "-",
        *_arrived(found),
    )  # fmt: skip
