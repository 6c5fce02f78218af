"""Figures of the literature beside ours."""

import csv
from functools import cache
from importlib.resources import files

import numpy as np

from rtpd.report.blocks import Block, Heading, Table, Text
from rtpd.report.cells import SCRATCH, Cell
from rtpd.report.words import share_of
from rtpd.system.formatting import show

NETS = {"net25": 25.0, "net7": 7.0, "net4": 4.0}  # % of the teacher's parameters
SOURCE = (
    "Rusu et al. 2015 (Policy Distillation, arXiv:1511.06295): two stages from a DQN trained to "
    "its end, shares of raw scores, not measured from random play; human-expert start states, "
    "epsilon 0.05, at most 30 minutes. Starts, teachers and shares differ from ours: compare what "
    "is left of a teacher, not returns."
)


@cache
def rusu2015() -> dict[str, dict[str, float]]:
    """By ALE game: the teacher's return, and % of it for each net."""
    lines = files("rtpd.report").joinpath("rusu2015.csv").read_text().splitlines()
    rows = csv.DictReader(line for line in lines if not line.startswith("#"))
    return {row.pop("game"): {k: float(v) for k, v in row.items()} for row in rows}


def rusu2015_means() -> dict[str, float]:
    """Each net's geometric mean over their ten games, % of the teacher."""
    return {
        net: float(np.exp(np.mean([np.log(row[net]) for row in rusu2015().values()])))
        for net in NETS
    }


def published(game: str, cells: list[Cell]) -> list[Block]:
    """Their students of the same nets beside ours; nothing if there is none in common."""
    theirs = rusu2015().get(game.removeprefix("ale/"))
    if theirs is None:
        return []
    rows = []
    for cell in cells:
        for row in cell.results.values() if cell.procedure != SCRATCH else ():
            if row.agent.net in NETS:
                said = show(theirs[row.agent.net], ",.1f", " %")
                rows.append((row.agent.label, said, share_of(row), cell.label))
    if not rows:
        return []
    head = ("student", "Rusu et al. 2015", "here", "procedure")
    about = f"{SOURCE} Their teacher's return: {show(theirs['teacher'], ',.1f')}."
    return [Heading("Published", 3), Text(about), Table(head, tuple(rows), 1, "Published")]
