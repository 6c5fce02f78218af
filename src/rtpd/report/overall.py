"""The part of a report that is about several games at once."""

from collections.abc import Iterable
from itertools import groupby
from typing import NamedTuple

import numpy as np

from rtpd.envs.baselines import human_normalised
from rtpd.report import figures, savings, stats
from rtpd.report.answer import picture
from rtpd.report.blocks import Block, Heading, Table, Text
from rtpd.report.cells import PROCEDURES, Cell
from rtpd.report.curves import LINES
from rtpd.report.drawing import Palette
from rtpd.report.naming import TAUGHT_BY, Agent
from rtpd.report.published import NETS, SOURCE, rusu2015_means
from rtpd.report.study import Study, names_of
from rtpd.report.words import with_interval
from rtpd.system.formatting import share, show

TAUS = [float(tau) for tau in range(0, 155, 5)]  # % of the teacher
ABOUT = (
    "Geometric means and interquartile means (IQM) over games, with 95 % stratified bootstrap "
    "intervals over seeds (Agarwal et al. 2021); without one where a game has a single seed. Games "
    "whose teacher is no better than random play are left out. "
)
HEAD = ("agent and procedure", "geometric mean, % of teacher", "IQM, % of teacher",
        "IQM, human-normalised %", "games", "of teacher's size", "setting")  # fmt: skip


class Overall(NamedTuple):
    """One agent under one procedure and setting, over the games where each number is known."""

    agent: Agent
    procedure: str
    setting: str
    size: float | None  # of the teacher's parameters, on the mean of games
    shares: dict[str, list[float]]  # % of the teacher by game, one a seed
    humans: dict[str, list[float]]  # human-normalised, %
    learnt: bool

    @property
    def label(self) -> str:
        """Procedure and setting."""
        return ", ".join(filter(None, (self.procedure, self.setting)))

    @property
    def means(self) -> list[float]:
        """The mean share over seeds in each game."""
        return [sum(row) / len(row) for row in self.shares.values()]

    def estimate(self, aggregate: stats.Aggregate) -> stats.Estimate | None:
        """An aggregate of the shares; None where it is not defined."""
        if len(self.shares) < 2 or (aggregate is stats.geometric_mean and min(self.means) <= 0):
            return None
        return stats.estimate(aggregate, self.shares)


def overall(study: Study) -> list[Overall]:
    """Every agent of every setting that was run in at least two games."""
    kinds: dict[tuple[str, tuple[tuple[str, str], ...]], list[Cell]] = {}
    for cell in study.cells:
        kinds.setdefault((cell.procedure, tuple(sorted(cell.settings.items()))), []).append(cell)
    several = sorted((k for k in kinds if len(kinds[k]) > 1), key=lambda k: PROCEDURES.index(k[0]))
    found = []
    for procedure, group in groupby(several, key=lambda kind: kind[0]):
        rows = [kinds[kind] for kind in group]
        for cells, name in zip(rows, names_of([cells[0] for cells in rows]), strict=True):
            agents = dict.fromkeys(agent for cell in cells for agent in cell.members)
            found += [_over(agent, procedure, name, cells) for agent in agents]
    shown = {row.label for row in found if len(row.shares) > 1}
    return [r for r in found if len(r.shares) > 1 or (r.agent == TAUGHT_BY and r.label in shown)]


def _over(agent: Agent, procedure: str, name: str, cells: Iterable[Cell]) -> Overall:
    own = [cell for cell in cells if agent in cell.members]
    shares = {cell.game: cell.shares(agent) for cell in own}
    humans = {cell.game: _human(cell, agent) for cell in own}
    sizes = [size for cell in own if (size := cell.size(agent)) is not None]
    return Overall(
        agent, procedure, name, float(np.mean(sizes)) if sizes else None,
        {game: row for game, row in shares.items() if row},
        {game: row for game, row in humans.items() if row},
        all(cell.learnt(agent) for cell in own),
    )  # fmt: skip


def _human(cell: Cell, agent: Agent) -> list[float]:
    found = [human_normalised(cell.game, score) for score in cell.scores(agent)]
    return [100 * value for value in found if value is not None]


def section(study: Study, palette: Palette, anchor: str) -> list[Block]:
    """Aggregates over games beside the literature's, and their figures; nothing for one game."""
    found = overall(study)
    if not found:
        return []
    theirs = rusu2015_means()
    rows = [
        (f"{net} (Rusu et al. 2015)", show(theirs[net], ",.1f"), "", "", "10", f"{size:g} %",
         "two stages, their ten games")
        for net, size in NETS.items()
    ]  # fmt: skip
    table = Table(HEAD, (*map(_line, found), *rows), 1, "Over games", words=1)
    blocks: list[Block] = [Heading("Over games", 2, anchor), Text(ABOUT + SOURCE), table]
    return [*blocks, *_sizes(found, theirs), *_profile(found, palette), *savings.section(study)]


def _line(o: Overall) -> tuple[str, ...]:
    human = stats.estimate(stats.iqm, o.humans) if len(o.humans) > 1 else None
    return (
        f"{o.agent.label} ({o.procedure})", with_interval(o.estimate(stats.geometric_mean)),
        with_interval(o.estimate(stats.iqm)), with_interval(human),
        str(len(o.shares or o.humans)), share(o.size), o.setting,
    )  # fmt: skip


def _sizes(found: list[Overall], theirs: dict[str, float]) -> list[Block]:
    """Geometric means against size, the games behind them, and the means of the literature."""
    points, games = [], []
    for o in found:
        mean = o.estimate(stats.geometric_mean)
        if mean is not None and o.size:
            points.append(figures.Point(o.agent.label, o.procedure, 100 * o.size, *mean, o.learnt))
            games += [(100 * o.size, of_game) for of_game in o.means]
    rusu = [figures.Point(n, None, NETS[n], theirs[n], None, True) for n in NETS]
    title = "Over games: size against score"
    panel = figures.sizes(title, points, "geometric mean, % of teacher", rusu, games)
    if panel is None:
        return []
    caption = (
        "Geometric mean over games of each agent's % of its teacher; grey: each game. Rusu et al.: "
        "their ten games and another protocol. Line: the Pareto front of what was run here."
    )
    said = "; ".join(f"{p.name}, {p.procedure}: {p.score:.0f} %" for p in points)
    return [picture(panel, "over games size", caption, f"{said}.")]


def _profile(found: list[Overall], palette: Palette) -> list[Block]:
    """Share of runs above each share of the teacher, of the agents with the most runs."""
    known = [o for o in found if o.agent != TAUGHT_BY and len(o.shares) > 1]
    runs = {id(o): sum(map(len, o.shares.values())) for o in known}
    first: dict[tuple[Agent, str], Overall] = {}  # one setting of each: others look the same
    for o in sorted(known, key=lambda o: -runs[id(o)]):
        first.setdefault((o.agent, o.procedure), o)
    kept = [*first.values()][:LINES]
    if not kept:
        return []
    several = len({o.label for o in kept}) > 1
    curves = [
        (f"{o.agent.label} ({o.label})" if several else o.agent.label, o.procedure, o.agent,
         stats.performance_profile(o.shares, TAUS))
        for o in kept
    ]  # fmt: skip
    panel = figures.profile("Over games: performance profile", curves, TAUS, palette)
    caption = "Share of runs (games x seeds) above each share of the teacher."
    if len(kept) < len(known):
        caption += " Of each agent and procedure the setting with the most runs."
    said = "; ".join(
        f"{label}: {100 * points[TAUS.index(95)].value:.0f} % of runs above 95 %"
        for label, _, _, points in curves
    )
    return [picture(panel, "over games profile", caption, f"{said}.")]
