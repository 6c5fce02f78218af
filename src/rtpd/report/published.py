"""Figures of the literature beside ours."""

import csv
from functools import cache
from importlib.resources import files

from rtpd.report.blocks import Block, Heading, Table, Text
from rtpd.report.cells import TEACHER, Cell
from rtpd.system.formatting import show

NETS = ("net25", "net7", "net4")
SOURCE = (
    "Rusu et al. 2015 (Policy Distillation, arXiv:1511.06295), two-stage distillation of a DQN, "
    "scored from human-expert start states with epsilon 0.05 and at most 30 minutes. Starts and "
    "teachers differ from ours, so compare only shares of the own teacher's return."
)


@cache
def rusu2015() -> dict[str, dict[str, float]]:
    """By ALE game: the teacher's return, and % of it for each net."""
    lines = files("rtpd.report").joinpath("rusu2015.csv").read_text().splitlines()
    rows = csv.DictReader(line for line in lines if not line.startswith("#"))
    return {row.pop("game"): {k: float(v) for k, v in row.items()} for row in rows}


def published(game: str, cells: list[Cell]) -> list[Block]:
    """Their students of the same nets beside ours; nothing if there is none in common."""
    theirs = rusu2015().get(game.removeprefix("ale/"))
    if theirs is None:
        return []
    rows = []
    for cell in cells:
        for row in cell.rows:
            if row.about.net in NETS and row.agent != TEACHER:
                said = show(theirs[row.about.net], ",.1f", " %")
                rows.append((row.about.net, cell.setting, row.agent, said, _percent(row.percent)))
    if not rows:
        return []
    head = ("net", "setting", "student", "Rusu et al. 2015", "here")
    about = f"{SOURCE} Their teacher's return: {show(theirs['teacher'], ',.1f')}."
    return [Heading("Published", 3), Text(about), Table(head, tuple(rows), 3)]


def _percent(value: float | None) -> str:
    return show(value, ",.1f", " %")
