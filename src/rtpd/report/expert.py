"""When students became experts, in real time beside two stages with what these cost before."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from rtpd.report import figures
from rtpd.report.answer import picture
from rtpd.report.arrival import Arrival, time_to_expert
from rtpd.report.blocks import Block, Heading, Table, Text
from rtpd.report.cells import EXPERT, SCRATCH, TWO_STAGES, Cell
from rtpd.report.naming import Agent
from rtpd.report.study import Study
from rtpd.report.trials import Trial
from rtpd.report.words import game_name, listed, middle
from rtpd.system.formatting import count

ABOUT = (
    f"When an evaluated return first stays at {EXPERT:g} % of the final teacher's, measured from "
    "random play where that is known: median over the seeds that got there, with the range. In "
    "real time the teacher learns in that same time; in two stages the last two columns add what "
    "the teacher had taken before. From scratch: of the best teacher of the game."
)
HEAD = ("agent and procedure", "agent steps", "wall time", "steps with the teacher's",
        "time with the teacher's", "reached by", "setting")  # fmt: skip


class Reached(NamedTuple):
    """One agent of one cell, of which a seed got there."""

    cell: Cell
    agent: Agent
    seeds: str  # as in "2 of 3 seeds"
    steps: list[float]
    seconds: list[float]
    whole_steps: list[float]  # with the teacher's; empty where those of a seed are not known
    whole_seconds: list[float]


def section(game: str, study: Study) -> list[Block]:
    """The table and the figure; a sentence where nobody got there."""
    pairs = [
        (cell, agent)
        for cell in study.of(game) for agent in cell.learners
        if cell.best and _evaluated_twice(cell, agent)
    ]  # fmt: skip
    if not pairs:
        return []
    known = [(pair, reached(*pair, study)) for pair in pairs]
    rows = [row for _, row in known if row is not None]
    heading = Heading("Time to expert", 3)
    if not rows:
        what = f"No agent's evaluations come to stay at {EXPERT:g} % of a teacher's final return."
        return [heading, Text(what)]
    late = [f"{agent.label} ({cell.label})" for (cell, agent), row in known if row is None]
    blocks: list[Block] = [heading, Text(ABOUT)]
    title = f"Time to expert, {game_name(game)}"
    two = any(row.cell.procedure == TWO_STAGES for row in rows)
    lines = tuple(_line(row, whole=two) for row in rows)
    blocks.append(Table(HEAD, lines, 1, title, 2).without_empty())
    if late:
        blocks.append(Text(f"Not reached by {listed(late)}."))
    waits = [_wait(row) for row in rows]
    panel = figures.waits(game, waits)
    if panel is not None:
        caption = (
            "Median wall minutes until an agent is an expert. Hollow: of two stages the second "
            "alone; filled: with all of the teacher's training."
        )
        said = "; ".join(f"{w.name}: {w.whole or w.alone:.0f} minutes" for w in waits)
        blocks.append(picture(panel, f"{game} time to expert", caption, f"{said}."))
    return blocks


def reached(cell: Cell, agent: Agent, study: Study) -> Reached | None:
    """When the seeds of an agent got there; None if none did."""
    trials = [t for t in cell.members[agent] if t.curve(cell.within(agent)).steps]
    found = [(trial, at) for trial in trials if (at := arrival(trial, cell, agent)) is not None]
    if not found:
        return None
    last = sum(not at.confirmed for _, at in found)
    said = f"{len(found)} of {count(len(trials), 'seed')}"
    said += f" ({last} only at the last evaluation)" if last else ""
    steps, seconds = [float(at.steps) for _, at in found], [at.seconds for _, at in found]
    if cell.procedure != TWO_STAGES:
        return Reached(cell, agent, said, steps, seconds, steps, seconds)
    taught = [(at, study.sources.get(trial.run.path)) for trial, at in found]
    known = [(at, r.manifest.step, r.seconds) for at, r in taught if r is not None]
    whole = [(at, s, t) for at, s, t in known if s is not None and t is not None]
    if len(whole) < len(found):  # a median of other seeds than the one beside it
        return Reached(cell, agent, said, steps, seconds, [], [])
    return Reached(cell, agent, said, steps, seconds, [float(at.steps + s) for at, s, _ in whole],
                   [at.seconds + t for at, _, t in whole])  # fmt: skip


def arrival(trial: Trial, cell: Cell, agent: Agent) -> Arrival | None:
    """When one seed's evaluations first stay at 95 % of its teacher, or of the best one."""
    if cell.procedure != SCRATCH:
        return trial.arrival(agent)
    if cell.best is None:
        return None
    curve = trial.curve(cell.within(agent))
    return time_to_expert(*curve, cell.best.mean, trial.random_score, percent=EXPERT)


def _evaluated_twice(cell: Cell, agent: Agent) -> bool:
    curves = [trial.curve(cell.within(agent)) for trial in cell.members[agent]]
    return any(len(curve.steps) > 1 for curve in curves)


def _line(row: Reached, *, whole: bool) -> tuple[str, ...]:
    times = [[second / 60 for second in spent] for spent in (row.seconds, row.whole_seconds)]
    return (
        f"{row.agent.label} ({row.cell.procedure})", middle(row.steps, "steps"),
        middle(times[0], "minutes"), middle(row.whole_steps, "steps") if whole else "",
        middle(times[1], "minutes") if whole else "", row.seeds, row.cell.name,
    )  # fmt: skip


def _wait(row: Reached) -> figures.Wait:
    name = ", ".join(filter(None, (row.agent.label, row.cell.name)))
    two = row.cell.procedure == TWO_STAGES and bool(row.whole_seconds)
    whole = minutes(row.whole_seconds) if two else None
    return figures.Wait(name, row.cell.procedure, minutes(row.seconds), whole)


def minutes(seconds: Sequence[float]) -> float:
    """The median."""
    return float(np.median(seconds)) / 60
