"""The part of a report that is about several games at once."""

from collections.abc import Callable
from typing import NamedTuple

from rtpd.envs.baselines import human_normalised
from rtpd.report import figures, stats
from rtpd.report.blocks import Block, Heading, Table, Text
from rtpd.report.cells import Cell, Study
from rtpd.report.drawing import Palette
from rtpd.report.games import picture
from rtpd.report.words import with_interval

TAUS = [float(tau) for tau in range(0, 155, 5)]  # % of the teacher


class Overall(NamedTuple):
    """One agent under one setting, over the games where each number is known."""

    setting: str
    agent: str
    shares: dict[str, list[float]]  # % of the teacher by game, one a seed
    humans: dict[str, list[float]]  # human-normalised, %

    def number(self, aggregate: stats.Aggregate, scores: dict[str, list[float]]) -> str:
        """The aggregate and its interval; "-" where it is not defined."""
        means = [sum(row) / len(row) for row in scores.values()]
        if len(scores) < 2 or (aggregate is stats.geometric_mean and min(means) <= 0):
            return "-"
        return with_interval(stats.estimate(aggregate, scores))


def overall(study: Study) -> list[Overall]:
    """Every agent of every setting that was run in at least two games."""
    found = []
    for setting in study.settings:
        cells = [cell for cell in study.cells if cell.setting == setting]
        if len(cells) < 2:
            continue
        for name in dict.fromkeys(name for cell in cells for name in cell.agents):
            with_it = [cell for cell in cells if name in cell.agents]
            shares = _by_game(with_it, lambda cell, name=name: cell.percents(name))
            humans = _by_game(with_it, lambda cell, name=name: _human(cell, name))
            found.append(Overall(setting, name, shares, humans))
    return found


def section(study: Study, palette: Palette) -> list[Block]:
    """Aggregates over games and their performance profiles; nothing for a single game."""
    found = overall(study)
    if not found:
        return []
    about = (
        "Interquartile means (IQM) and geometric means over games, with 95 % stratified bootstrap "
        "intervals over seeds (Agarwal et al. 2021); without an interval where a game has one "
        "seed. A student's % of teacher is of its game's final teacher, averaged over seeds; games "
        "where that is no better than random play are left out."
    )
    head = (
        "setting", "agent", "games", "IQM, % of teacher", "geometric mean, % of teacher",
        "IQM, human-normalised %",
    )  # fmt: skip
    rows = tuple(
        (
            o.setting, o.agent, str(len(o.shares)), o.number(stats.iqm, o.shares),
            o.number(stats.geometric_mean, o.shares), o.number(stats.iqm, o.humans),
        )
        for o in found
    )  # fmt: skip
    blocks: list[Block] = [Heading("Over games"), Text(about), Table(head, rows, 2)]
    for setting in dict.fromkeys(o.setting for o in found):
        curves = {
            o.agent: stats.performance_profile(o.shares, TAUS)
            for o in found
            if o.setting == setting and o.agent in palette.students and len(o.shares) > 1
        }
        if curves:
            caption = "Performance profile: share of runs (games x seeds) above each share."
            panel = figures.profile(setting, curves, TAUS, palette)
            blocks.append(picture(panel, "profile", caption))
    return blocks


def _by_game(
    cells: list[Cell], scores: Callable[[Cell], list[float] | None]
) -> dict[str, list[float]]:
    found = {cell.game: scores(cell) for cell in cells}
    return {game: row for game, row in found.items() if row}


def _human(cell: Cell, name: str) -> list[float]:
    found = [human_normalised(cell.game, score) for score in cell.scores(name)]
    return [100 * value for value in found if value is not None]
