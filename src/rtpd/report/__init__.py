"""A report of runs: one HTML page, the same as Markdown, and every figure as a file."""

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from rtpd.errors import RequestError
from rtpd.report import clip as clips
from rtpd.report import games, overall, page, provenance
from rtpd.report.blocks import Block, Heading, Picture, Table, Text
from rtpd.report.cells import TEACHER, Study, study
from rtpd.report.drawing import Palette
from rtpd.report.gather import gather
from rtpd.report.words import count, game_name
from rtpd.storage.files import write_atomic
from rtpd.system.process import settled

INTERVALS = (
    "Intervals of mean returns are 95 % percentile bootstrap intervals over seeds; one seed has "
    "none, and those of few seeds are too narrow. % of teacher is (student - random) / (teacher - "
    "random) of the mean final returns, with 0 where random was never measured, and left out where "
    "the teacher is within two standard errors of random play; human score is the same with the "
    "human in the teacher's place. The final evaluation is the last one of each run."
)


class Report(NamedTuple):
    """What was written, and the main table of each game and setting."""

    html: Path
    markdown: Path
    pictures: Path
    tables: dict[str, Table]


@settled()
def report(
    folders: Sequence[Path], out: Path = Path("report.html"), *, clip: bool = True
) -> Report:
    """Read the runs in these folders and write `out`, the .md and the folder of figures beside it.

    `out` ends in .html, which may be left out.

    All is read and drawn before anything is written, and each file is replaced as a whole.
    RequestError in one line if a folder or `out` is of no use; nothing has been written then.
    """
    out = out if out.suffix or out.is_dir() else out.with_name(f"{out.name}.html")
    pictures = out.with_name(f"{out.stem}-figures")
    _check(out, pictures)
    found = study(gather(folders))
    blocks = numbered(compose(found, clip=clip))
    files = {pictures / b.file: b.data for b in blocks if isinstance(b, Picture)}
    files[out.with_suffix(".md")] = page.markdown(blocks, pictures.name).encode()
    files[out] = page.html(blocks).encode()
    pictures.mkdir(exist_ok=True)
    for path, data in files.items():
        write_atomic(path, data)
    tables = {f"{game_name(c.game)}: {c.setting}": games.main_table([c]) for c in found.cells}
    return Report(out, out.with_suffix(".md"), pictures, tables)


def compose(found: Study, *, clip: bool = True) -> list[Block]:
    """Everything that a report says."""
    palette = Palette(found.students)
    names = ", ".join(map(game_name, found.games))
    seeds = sorted({trial.seed for cell in found.cells for trial in cell.trials})
    what = (
        f"{count(len(found.runs), 'run')} of {count(len(found.games), 'game')} ({names}) under "
        f"{count(len(found.settings), 'setting')} ({'; '.join(found.settings)}), "
        f"seeds {', '.join(map(str, seeds))}."
    )
    blocks: list[Block] = [Heading(f"Real-time policy distillation: {names}", 1), Text(what)]
    blocks += [Text(games.verdict(cell)) for cell in found.cells if cell.students]
    blocks.append(Text(INTERVALS))
    if clip and (pair := clips.choose(found)) is not None:
        title = f"{game_name(pair.trial.game)}: {TEACHER} and {pair.student}"
        text = f"{title}, of {pair.trial.run.path}, from the same start, epsilon {clips.EPSILON}."
        blocks.append(Picture("clip.webp", clips.film(pair), title, text))
    for game in found.games:
        blocks += games.section(game, found, palette)
    return blocks + overall.section(found, palette) + provenance.section(found)


def numbered(blocks: Iterable[Block]) -> list[Block]:
    """Give pictures their file names: a number, then what they show in harmless characters."""
    found, number = [], 0
    for block in blocks:
        if isinstance(block, Picture) and not block.file.endswith(".webp"):
            number += 1
            slug = re.sub(r"[^a-z0-9]+", "-", block.file.lower()).strip("-")[:60]
            block = replace(block, file=f"{number:02d}-{slug}.svg")
        found.append(block)
    return found


def _check(out: Path, pictures: Path) -> None:
    if out.suffix not in (".html", ".htm"):
        raise RequestError(f"--out '{out}': allowed: a name that ends in .html")
    if not out.parent.is_dir():
        raise RequestError(f"--out '{out}': there is no folder '{out.parent}'")
    if not os.access(out.parent, os.W_OK):
        raise RequestError(f"--out '{out}': '{out.parent}' cannot be written to")
    if out.is_dir():
        raise RequestError(f"--out '{out}': it is a folder")
    if pictures.exists() and not (pictures.is_dir() and os.access(pictures, os.W_OK)):
        raise RequestError(f"--out '{out}': its figures need '{pictures}', which is in the way")
