"""The teacher of a game and its smallest good student, side by side, as animated WebP."""

import io
from contextlib import closing
from dataclasses import replace
from itertools import islice
from typing import NamedTuple

import msgspec
import numpy as np
from PIL import Image, ImageDraw

from rtpd.envs import EnvOptions
from rtpd.errors import RtpdError, RunError
from rtpd.report.blocks import Picture
from rtpd.report.cells import SCRATCH, Result, smallest_good
from rtpd.report.naming import TAUGHT_BY
from rtpd.report.study import Study
from rtpd.report.trials import Trial
from rtpd.report.words import game_name, slug
from rtpd.storage.agent_id import AgentId
from rtpd.storage.run_folder import Run

FRAMES = 400  # agent steps; 27 s at 15 frames a second
LIMIT = 1_500_000 * 3 // 4  # bytes of one clip, since base64 adds a third
ALL = 3_000_000  # of all clips of a page
EPSILON, SEED = 0.05, 1
SCREEN = (160, 210)
GAP, LABEL = 12, 20


class Pair(NamedTuple):
    """Who plays."""

    trial: Trial
    student: AgentId

    @property
    def teacher(self) -> AgentId:
        """The student's."""
        return self.trial.agents[TAUGHT_BY]


def clips(study: Study) -> dict[str, Picture]:
    """A clip of each game whose agents were kept; RunError if one is damaged."""
    pairs = {game: pair for game in study.games if (pair := choose(game, study)) is not None}
    return {game: _clip(pair, min(LIMIT, ALL // len(pairs))) for game, pair in pairs.items()}


def _clip(pair: Pair, limit: int) -> Picture:
    game = game_name(pair.trial.game)
    title = f"{game}: teacher and {pair.student.name}"
    text = f"{title}, of {pair.trial.run.path}, from the same start, epsilon {EPSILON}."
    name = f"clip-{slug(game)}.webp"
    return Picture(name, film(pair, limit), title, text, "Both screens, side by side.")


def choose(game: str, study: Study) -> Pair | None:
    """The smallest student at 95 % of its teacher in an Atari run that has kept both.

    If none is as good, the best one; None if no run has kept its agents.
    """
    if not game.startswith("ale/"):
        return None
    kept: list[tuple[Result, Pair]] = []
    for cell in study.of(game):
        if cell.procedure == SCRATCH or TAUGHT_BY not in cell.members:
            continue
        for agent in cell.learners:
            pairs = (Pair(trial, trial.agents[agent]) for trial in cell.members[agent])
            pair = next((pair for pair in pairs if _saved(pair)), None)
            kept += [(cell.results[agent], pair)] if pair else []
    best = smallest_good(result for result, _ in kept)
    return next((pair for result, pair in kept if result is best), None)


def _saved(pair: Pair) -> bool:
    saved = Run.open(pair.trial.run.path).agents
    return {str(pair.teacher), str(pair.student)} <= set(saved)


def film(pair: Pair, limit: int) -> bytes:
    """Let both play from the same start with epsilon 0.05, for what fits into `limit` bytes.

    RunError if an agent is damaged.
    """
    folder = Run.open(pair.trial.run.path)
    try:
        known = folder.manifest["config"].get("environment", {})
        options = replace(msgspec.convert(known, EnvOptions), episodic_life=False)
        names = (pair.teacher, pair.student)
        sides = [(agent.name, _play(folder, str(agent), options)) for agent in names]
    except (msgspec.ValidationError, RtpdError) as error:
        raise RunError(f"'{folder.path}': no clip of its agents (--no-clip): {error}") from None
    pictures = [_side_by_side(sides, i) for i in range(FRAMES)]
    while len(data := _webp(pictures)) > limit and len(pictures) > 1:
        pictures = pictures[: len(pictures) * 2 // 3]
    return data


def _play(folder: Run, agent: str, options: EnvOptions) -> tuple[list[np.ndarray], list[float]]:
    """Pictures u8[210 160 3], and at each the return of the episode so far."""
    from rtpd.agents.play.game import Cast, moments
    from rtpd.agents.store import load_any

    cast = Cast({agent: load_any(folder.agent_path(agent))}, str(folder.path))
    with closing(moments(cast, options, EPSILON, SEED, pictures=True)) as steps:
        shown = list(islice(steps, FRAMES))
    pictures = [moment.picture for moment in shown if moment.picture is not None]
    return pictures, [moment.total for moment in shown]


def _side_by_side(
    sides: list[tuple[str, tuple[list[np.ndarray], list[float]]]], step: int
) -> Image.Image:
    """Both screens at one step, each under its agent's name and score."""
    wide, high = SCREEN
    picture = Image.new("RGB", (2 * wide + GAP, high + LABEL), (24, 24, 24))
    draw = ImageDraw.Draw(picture)
    for i, (name, (frames, totals)) in enumerate(sides):
        left = i * (wide + GAP)
        draw.text((left + 2, 4), f"{name}  {totals[step]:g}", fill=(235, 235, 235))
        picture.paste(Image.fromarray(frames[step]), (left, LABEL))
    return picture


def _webp(pictures: list[Image.Image]) -> bytes:
    file, (first, *rest) = io.BytesIO(), pictures
    first.save(
        file, "WEBP", save_all=True, append_images=rest, duration=67, loop=0, quality=55, method=4
    )
    return file.getvalue()
