"""A report of runs: one HTML page, the same as Markdown, and every figure as a file."""

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from rtpd.errors import RequestError
from rtpd.report import answer, games, overall, page, provenance
from rtpd.report.blocks import Block, Contents, Details, Heading, Picture, Table, Text, flatten
from rtpd.report.cells import PROCEDURES, REAL_TIME, SCRATCH, TWO_STAGES
from rtpd.report.clip import clips
from rtpd.report.drawing import Palette
from rtpd.report.gather import gather
from rtpd.report.markdown import markdown
from rtpd.report.study import Study, study
from rtpd.report.words import game_name, slug
from rtpd.storage.files import write_atomic
from rtpd.system.formatting import count
from rtpd.system.process import settled

FEW_GAMES = 2  # whose sections are unfolded
WHAT = {
    REAL_TIME: "students in real time",
    TWO_STAGES: "students in two stages",
    SCRATCH: "nets from scratch",
}


class Report(NamedTuple):
    """What was written, and the first table of each game."""

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
    files = {pictures / b.file: b.data for b in flatten(blocks) if isinstance(b, Picture)}
    files[out.with_suffix(".md")] = markdown(blocks, pictures.name).encode()
    files[out] = page.html(blocks).encode()
    pictures.mkdir(exist_ok=True)
    for path, data in files.items():
        write_atomic(path, data)
    tables = {game_name(game): _of_game(game, found) for game in found.games}
    return Report(out, out.with_suffix(".md"), pictures, tables)


def compose(found: Study, *, clip: bool = True) -> list[Block]:
    """Everything that a report says: the answer, then what it is made of."""
    palette = Palette(found.learners)
    names = ", ".join(map(game_name, found.games))
    seeds = sorted({trial.seed for cell in found.cells for trial in cell.trials})
    kinds = {cell.procedure for cell in found.cells}
    what = (
        f"{count(len(found.runs), 'run')} of {count(len(found.games), 'game')}, "
        f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}: "
        f"{', '.join(WHAT[procedure] for procedure in PROCEDURES if procedure in kinds)}."
    )
    over = overall.section(found, palette, "over-games")
    anchors = {game: f"game-{i}-{slug(game)}" for i, game in enumerate(found.games, 1)}
    links = [("Over games", "over-games")] if over else []
    links += [(game_name(game), anchor) for game, anchor in anchors.items()]
    links.append(("Settings and provenance", "provenance"))
    blocks: list[Block] = [Heading(f"Real-time policy distillation: {names}", 1), Text(what)]
    blocks += [*answer.section(found), Contents(tuple(links)), *over]
    few, shown = len(found.games) <= FEW_GAMES, clips(found) if clip else {}
    for game, anchor in anchors.items():
        film = [shown[game]] if game in shown else []
        blocks.append(games.section(game, found, palette, anchor, film, unfolded=few))
    return [*blocks, provenance.section(found, "provenance")]


def _of_game(game: str, found: Study) -> Table:
    """The first table of one game, for a terminal."""
    own = answer.table(found, [game])
    return replace(own, head=("game", *own.head), rows=tuple((game, *row) for row in own.rows))


def numbered(blocks: Iterable[Block], numbers: Iterator[int] | None = None) -> list[Block]:
    """Give pictures their file names: a number, then what they show in harmless characters."""
    found, numbers = list[Block](), numbers or itertools.count(1)
    for block in blocks:
        if isinstance(block, Picture) and not block.file.endswith(".webp"):
            block = replace(block, file=f"{next(numbers):02d}-{slug(block.file)}.svg")
        elif isinstance(block, Details):
            block = replace(block, blocks=tuple(numbered(block.blocks, numbers)))
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
