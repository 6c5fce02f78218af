"""What a report says first: whether small students reach their teacher, and in which procedure."""

from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

from rtpd.report import figures
from rtpd.report.blocks import Block, Picture, Table, Text
from rtpd.report.cells import EXPERT, PROCEDURES, SCRATCH, Cell, Result, smallest_good
from rtpd.report.drawing import Drawing
from rtpd.report.naming import TAUGHT_BY
from rtpd.report.study import Study, results
from rtpd.report.words import game_name, share_of, with_interval
from rtpd.system.formatting import count, share, show

MOST_ROWS, MOST_NETS = 24, 6  # of the first table; the rest stand with their games
HOW_TO_READ = (
    "% of teacher is (student - random play) / (teacher - random play) of mean final returns, "
    "in brackets the 95 % bootstrap interval over seeds: one seed has none, and those of few seeds "
    "are too narrow. A student's teacher is that of its own runs; a net from scratch has none and "
    "is measured by the best teacher of its game here. Where a teacher is within two standard "
    "errors of random play nothing is a share of it (-)."
)


def verdict(game: str, study: Study) -> str:
    """One sentence: the smallest agent of each procedure that plays as well as the teacher."""
    parts = []
    for procedure in PROCEDURES:
        cells = [cell for cell in study.of(game) if cell.procedure == procedure]
        best = smallest_good(results(cells))
        if best is not None:
            parts.append(_part(procedure, best))
    if not parts:
        taught = any(TAUGHT_BY in cell.members for cell in study.of(game))
        why = "no teacher here plays better than chance" if taught else "no teacher was run"
        return f"{game_name(game)}: nothing to compare with, {why}."
    what = f"the smallest at {EXPERT:g} % of the teacher's return or more"
    return f"{game_name(game)}, {what}: {'; '.join(parts)}."


def _part(procedure: str, best: Result) -> str:
    where = procedure if procedure == SCRATCH else f"in {procedure}"
    value = best.share.value if best.share else 0.0
    size = f"{count(best.about.parameters, 'parameter')}, {share(best.cell.size(best.agent))}"
    what = f"{best.agent.label} ({size} of the teacher's)"
    found = what if value >= EXPERT else f"none, at best {what}"
    return f"{where} {found} with {show(value)} % ({count(len(best.seeds), 'seed')})"


class Row(NamedTuple):
    """Agents of one cell that differ only in their nets."""

    cell: Cell
    variant: str
    nets: dict[str, Result]

    @property
    def words(self) -> str:
        """As in "real time: 1M steps, T=0.1"."""
        setting = ", ".join(filter(None, (self.cell.name, self.variant)))
        return f"{self.cell.procedure}: {setting}" if setting else self.cell.procedure

    @property
    def rank(self) -> tuple[int, bool, float]:
        """What is told first: most seeds, as the settings have it, the best teacher (or net)."""
        best = next(iter(self.cell.results.values()))
        return -max(len(r.seeds) for r in self.nets.values()), bool(self.variant), -best.mean.value


def rows(cells: Sequence[Cell], most: int | None = None) -> list[Row]:
    """The rows of the first table for a game, `most` of each procedure."""
    found: list[Row] = []
    for _, group in groupby(cells, key=lambda cell: cell.procedure):
        own: list[Row] = []
        for cell in group:
            variants = dict.fromkeys(sorted((a.variant for a in cell.learners), key=bool))
            for variant in variants or [""]:
                nets = {a.net: cell.results[a] for a in cell.learners if a.variant == variant}
                if nets or TAUGHT_BY in cell.members:
                    own.append(Row(cell, variant, nets))
        kept = sorted((row for row in own if row.nets), key=lambda row: row.rank)[:most]
        found += [row for row in own if row in kept] if kept else own[:most]
    return found


def kept_rows(study: Study, games: Sequence[str]) -> list[Row]:
    """The rows of these games; where a report has many, those that are told first."""
    every = sum(len(rows(study.of(game))) for game in study.games)
    groups = len({(cell.game, cell.procedure) for cell in study.cells})
    most = None if every <= MOST_ROWS else max(1, MOST_ROWS // groups)
    return [row for game in games for row in rows(study.of(game), most)]


def table(study: Study, games: Sequence[str]) -> Table:
    """One row a game, procedure and setting; a column for each net, the largest first."""
    kept = kept_rows(study, games)
    sizes: dict[str, tuple[int, float | None]] = {}
    for row in kept:
        for net, result in row.nets.items():
            sizes.setdefault(net, (result.about.parameters, row.cell.size(result.agent)))
    often = Counter(net for row in kept for net in row.nets)
    nets = sorted(sizes, key=lambda net: -often[net])[:MOST_NETS]
    if len(kept) > MOST_NETS:  # a column for a single row says little
        nets = [net for net in nets if often[net] > 1] or nets
    nets.sort(key=lambda net: -sizes[net][0])
    kept = [row for row in kept if not row.nets or set(nets) & set(row.nets)]
    names = [f"{net} ({share(sizes[net][1])})" if sizes[net][1] else net for net in nets]
    first = "game and procedure" if len(games) > 1 else "procedure"
    lines = tuple(_line(row, nets, named=len(games) > 1) for row in kept)
    return Table((first, *names, "teacher's return", "seeds"), lines, 1, "Final returns")


def _line(row: Row, nets: Sequence[str], *, named: bool) -> tuple[str, ...]:
    name = f"{game_name(row.cell.game)}, {row.words}" if named else row.words
    teacher = row.cell.results.get(TAUGHT_BY)
    numbers = [share_of(row.nets[net]) if net in row.nets else "" for net in nets]
    found = [*row.nets.values()] or [teacher] * (teacher is not None)
    seen = str(max((len(result.seeds) for result in found if result), default=0))
    return name, *numbers, with_interval(teacher.mean if teacher else None), seen


def section(study: Study) -> list[Block]:
    """The sentences, the table and the figure of each game."""
    blocks: list[Block] = [Text(verdict(game, study)) for game in study.games]
    first = table(study, study.games)
    every = sum(len(rows(study.of(game))) for game in study.games)
    blocks.append(first)
    if len(first.rows) < every:
        blocks.append(Text(
            f"{len(first.rows)} of {every} rows: of each game and procedure those with the most "
            "seeds, then the best teachers, and the nets of most rows. All stand below."
        ))  # fmt: skip
    drawn = [figure for game in study.games if (figure := size_figure(game, study)) is not None]
    return [*blocks, *drawn, Text(HOW_TO_READ)]


def size_figure(game: str, study: Study) -> Picture | None:
    """Size against score of everything that was run in a game."""
    found = figures.points(study.of(game))
    title = f"{game_name(game)}: size against score"
    panel = figures.sizes(title, found, "final return, % of the best teacher")
    if panel is None:
        return None
    front = [p for p in figures.front_of(found) if p.procedure]
    said = "; ".join(f"{p.name}, {p.procedure}, {p.size:.3g} % of the size: {p.score:.0f} %"
                     for p in front)  # fmt: skip
    instead = f"On the front: {said}." if front else "No agent is on the front."
    caption = (
        "All by the best teacher of the game, so that settings compare; bars: 95 % intervals over "
        f"seeds. Line: the Pareto front of what has learnt, named; dotted: {EXPERT:g} %."
    )
    return picture(panel, f"{game} size", caption, instead)


def picture(panel: Drawing, name: str, caption: str, instead: str) -> Picture:
    """A figure as a block; the page gives it a number."""
    return Picture(name, panel.svg().encode(), panel.title, caption, instead)
