"""The part of a report that is about one game."""

from rtpd.report import curves, expert
from rtpd.report.answer import picture
from rtpd.report.blocks import Block, Details, Heading, Picture, Table, Text
from rtpd.report.cells import PROCEDURES, Cell, Result
from rtpd.report.drawing import Palette
from rtpd.report.published import published
from rtpd.report.study import Study
from rtpd.report.words import game_name, seeds, share_of, with_interval
from rtpd.system.formatting import percent, share, show

HEAD = (
    "agent and procedure", "% of teacher (95 % over seeds)", "mean return (95 % over seeds)",
    "human score", "advantage kept", "parameters", "of teacher's size", "multiply-adds a step",
    "seeds", "setting",
)  # fmt: skip


def main_table(cells: list[Cell]) -> Table:
    """Final evaluations: one row an agent, procedure and setting."""
    rows = tuple(_line(row) for cell in cells for row in cell.results.values())
    title = f"Final evaluations, {game_name(cells[0].game)}"
    return Table(HEAD, rows, 1, title, words=2).without_empty()


def _line(row: Result) -> tuple[str, ...]:
    return (
        f"{row.agent.label} ({row.cell.procedure})",
        share_of(row) if row.share else "-",
        with_interval(row.mean),
        percent(row.human),
        show(curves.final_advantage(row.cell, row.agent), unit=" %"),
        show(row.about.parameters or None),
        share(row.cell.size(row.agent)),
        show(row.about.multiply_adds),
        seeds(row.cell.members[row.agent]),
        row.cell.name,
    )


def section(
    game: str, study: Study, palette: Palette, anchor: str, clip: list[Picture], *, unfolded: bool
) -> Details:
    """All that is known of a game."""
    cells = study.of(game)
    inner: list[Block] = [main_table(cells), *_taught_by(cells, study), *clip]
    inner += _returns(game, study, palette)
    for procedure in PROCEDURES:
        rows = [cell for cell in cells if cell.procedure == procedure]
        inner += _advantage(game, rows, palette) if rows else []
    inner += [*expert.section(game, study), *published(game, cells)]
    return Details(Heading(game_name(game), 2, anchor), tuple(inner), unfolded)


def _taught_by(cells: list[Cell], study: Study) -> list[Text]:
    """Which files and functions taught, where it was no run of this report."""
    runs = [trial.run for cell in cells for trial in cell.trials]
    found = [run.manifest.distilled_from for run in runs if run.path not in study.sources]
    names = ", ".join(dict.fromkeys(filter(None, found)))
    return [Text(f"Teachers of two stages that were given: {names}.")] if names else []


def _returns(game: str, study: Study, palette: Palette) -> list[Picture]:
    """One figure a setting of the teacher, with all that learnt from it."""
    found = []
    for cells in study.panels(game):
        every = curves.courses(cells, study)
        lines = curves.chosen(every)
        if not lines:
            continue
        kinds = {line.cell.procedure for line in lines}
        title = cells[0].name if len(kinds) > 1 else lines[0].cell.label
        title = f"{game_name(game)}: {title or 'learning curves'}"
        panel = curves.returns(title, lines, palette)
        said = "; ".join(
            f"{row.agent.label}, {row.cell.procedure}: {with_interval(row.mean)}"
            for row in (line.cell.results[line.agent] for line in lines)
        )
        caption = _caption(lines, len(every))
        found.append(picture(panel, f"{game} return", caption, f"At the end {said}."))
    return found


def _caption(lines: list[curves.Line], every: int) -> str:
    parts = ["Evaluated return over agent steps"]
    many = any(len(line.course.values) > 1 for line in lines)
    parts.append("band: 95 % interval over seeds" if many else "one seed")
    if len({line.cell.procedure for line in lines}) > 1:
        parts.append("solid: real time, dashed: two stages, which begin where their teacher's "
                     "training ended, dotted: from scratch")  # fmt: skip
    if len(lines) < every:
        parts.append(
            f"{len(lines)} of {every} agents, those of the most seeds and plain nets first"
        )
    return "; ".join(parts) + "."


def _advantage(game: str, cells: list[Cell], palette: Palette) -> list[Picture]:
    """One figure a procedure."""
    every = curves.kept(cells)
    lines = curves.chosen(every)
    if not lines:
        return []
    title = f"{game_name(game)}: teacher's advantage kept, {cells[0].procedure}"
    panel = curves.advantage(title, lines, palette)
    caption = (
        "Of the advantage that the teacher's actions have over random ones, by its own values on "
        f"256 replayed states, what a student's actions keep (mean of {curves.SMOOTH} lines of "
        "training). Dotted: the best constant action."
    )
    if len(lines) < len(every):
        caption += f" {len(lines)} of {len(every)} agents and settings; the table has all."
    said = "; ".join(
        f"{line.agent.label}: {show(curves.final_advantage(line.cell, line.agent), unit=' %')}"
        for line in lines
    )
    return [picture(panel, f"{game} advantage kept", caption, f"At the end {said}.")]
