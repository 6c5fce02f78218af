"""The part of a report that is about one game."""

from rtpd.report import figures
from rtpd.report.blocks import Block, Heading, Picture, Table, Text
from rtpd.report.cells import EXPERT, AgentResult, Cell, Study, smallest_good
from rtpd.report.drawing import Drawing, Palette
from rtpd.report.published import published
from rtpd.report.words import count, game_name, interval, middle, seeds
from rtpd.system.formatting import percent, share, show

HEAD = (
    "setting", "agent", "seeds", "parameters", "of teacher's size", "mean return",
    "95 % over seeds", "of teacher's return", "human score",
)  # fmt: skip


def main_table(cells: list[Cell]) -> Table:
    """Final evaluations: one row an agent and setting."""
    return Table(HEAD, tuple(_line(cell, row) for cell in cells for row in cell.rows), numbers=3)


def _line(cell: Cell, row: AgentResult) -> tuple[str, ...]:
    return (
        cell.setting,
        row.agent,
        seeds(cell),
        show(row.about.parameters),
        share(row.about.share),
        show(row.mean.value, ",.1f"),
        interval(row.mean, row.seeds),
        show(row.percent, unit=" %"),
        percent(row.human),
    )


def verdict(cell: Cell) -> str:
    """One sentence: the smallest student that plays as well as its teacher, if any."""
    name, best = f"{game_name(cell.game)}, {cell.setting}", smallest_good(cell.rows)
    if best is None:
        return f"{name}: no student can be measured against its teacher."
    what = f"{best.agent} with {count(best.about.parameters, 'parameter')}"
    size = f"{share(best.about.share)} of its teacher's"
    mean = f"{show(best.percent)} % of its teacher's return ({count(best.seeds, 'seed')})"
    first = best.percent is not None and best.percent >= EXPERT
    rank = f"the smallest student at {EXPERT:g} % or more" if first else "the best student"
    return f"{name}: {rank} is {what}, {size}: {mean}."


def section(game: str, study: Study, palette: Palette) -> list[Block]:
    """All that is known of a game."""
    cells = study.of(game)
    blocks: list[Block] = [Heading(game_name(game)), main_table(cells)]
    for cell in cells:
        blocks += _courses(cell, palette)
    for cost, words in (("parameters", "number of parameters"), ("multiply_adds", "arithmetic")):
        drawn = figures.sizes(game, cells, palette, cost)
        if drawn is not None:
            caption = (
                f"Final return of every agent against its {words}, with its 95 % interval over "
                f"seeds where there are two. The line is the Pareto front; dotted: {EXPERT:g} %."
            )
            blocks.append(picture(drawn, f"{game} {cost}", caption))
    return blocks + _expert(game, cells, study) + published(game, cells)


def picture(panel: Drawing, name: str, caption: str) -> Picture:
    """A figure as a block; the page gives it a number."""
    return Picture(name, panel.svg().encode(), panel.title, caption)


def _courses(cell: Cell, palette: Palette) -> list[Block]:
    many = len(cell.trials) > 1
    how = (
        "Thick: mean over seeds where all have been evaluated; thin: each seed; band: 95 % "
        "interval over seeds."
        if many
        else "One seed, so no interval."
    )
    blocks: list[Block] = []
    for minutes, what in ((False, "agent steps"), (True, "wall minutes of training")):
        panel = figures.returns(cell, palette, minutes=minutes)
        caption = f"Mean return of each evaluation against {what}. {how}"
        blocks.append(picture(panel, f"{cell.game} return {what.split()[1]}", caption))
    panel = figures.advantage(cell, palette)
    if panel is not None:
        caption = (
            "Of the advantage that the teacher's actions have over random ones, by its own values "
            "on 256 replayed states, what a student's actions keep (thin: each line of training; "
            f"thick: mean of {figures.SMOOTH} lines). Dotted: the best constant action."
        )
        blocks.append(picture(panel, f"{cell.game} advantage kept", caption))
    return blocks


def _expert(game: str, cells: list[Cell], study: Study) -> list[Block]:
    """When students became experts, real-time beside two-stage."""
    rows, dots = [], []
    for cell in cells:
        for name in cell.students:
            line, dot = _wait(cell, name, study)
            rows.append(line)
            dots += dot
    if not rows:
        return []
    about = (
        f"When a student's evaluated return first stays at {EXPERT:g} % of its final teacher's, "
        "measured from random play where that is known: median over the seeds that got there, "
        "with the range. A real-time run trains its teacher in that same time; for a two-stage run "
        "the last two columns add what its teacher had taken before."
    )
    head = (
        "setting", "student", "reached", "agent steps", "wall time", "steps with the teacher's",
        "time with the teacher's",
    )  # fmt: skip
    blocks: list[Block] = [Heading("Time to expert", 3), Text(about), Table(head, tuple(rows), 3)]
    if dots:
        caption = (
            "Median wall minutes until a student is an expert. Hollow: of a two-stage run alone; "
            "filled: with all of its teacher's training."
        )
        blocks.append(picture(figures.waits(game, dots), f"{game} time to expert", caption))
    return blocks


def _wait(
    cell: Cell, student: str, study: Study
) -> tuple[tuple[str, ...], list[tuple[str, str, float, float | None]]]:
    """The line of the table, and the dot of the figure if any seed got there."""
    trials = [trial for trial in cell.trials if trial.curve(student).steps]
    found = [(trial, at) for trial in trials if (at := trial.arrival(student)) is not None]
    last = sum(not at.confirmed for _, at in found)
    reached = f"{len(found)} of {count(len(trials), 'seed')}"
    reached += f" ({last} at the last evaluation only)" if last else ""
    steps, times = [at.steps for _, at in found], [at.seconds for _, at in found]
    whole_steps, whole_times = [*map(float, steps)], [*times]
    if cell.two_stage:
        taught = [(at, study.taught(trial)) for trial, at in found]
        known = [(at, r.manifest.step, r.seconds) for at, r in taught if r is not None]
        whole = [(at, s, t) for at, s, t in known if s is not None and t is not None]
        complete = len(whole) == len(found)  # else a median of other seeds than the one beside it
        whole_steps = [float(at.steps + s) for at, s, _ in whole] if complete else []
        whole_times = [at.seconds + t for at, _, t in whole] if complete else []
    line = (
        cell.setting, student, reached, middle(steps, "steps"), middle(times, "time"),
        middle(whole_steps, "steps"), middle(whole_times, "time"),
    )  # fmt: skip
    if not times:
        return line, []
    minutes = figures.median_minutes(times)
    whole = figures.median_minutes(whole_times) if cell.two_stage and whole_times else None
    return line, [(cell.setting, student, minutes, whole)]
