"""A teacher and its smallest good student at the same game, side by side, as animated WebP."""

import io
from dataclasses import replace
from typing import NamedTuple

import msgspec
import numpy as np
from PIL import Image, ImageDraw

from rtpd.envs import EnvOptions
from rtpd.errors import RtpdError, RunError
from rtpd.report.cells import TEACHER, Cell, Study, Trial, smallest_good
from rtpd.run import Run

FRAMES = 400  # agent steps; 27 s at 15 frames a second
LIMIT = 1_500_000 * 3 // 4  # bytes, since base64 adds a third
EPSILON, SEED = 0.05, 1
SCREEN = (160, 210)  # a frame of 84 x 84, in the proportions of the console
GAP, LABEL = 12, 20


class Pair(NamedTuple):
    """Who plays."""

    trial: Trial
    student: str


def choose(study: Study) -> Pair | None:
    """Of the Atari runs with saved agents, the one with the best teacher; None if there is none."""
    pairs = []
    for cell in study.cells:
        for trial in cell.trials if cell.game.startswith("ale/") else ():
            rows = Cell(cell.game, cell.setting, (trial,)).rows
            best, teacher = smallest_good(rows), trial.final.get(TEACHER)
            saved = Run.open(trial.record.path).agents
            if best is None or teacher is None or trial.prefix + TEACHER not in saved:
                continue
            if trial.prefix + best.agent in saved:
                human = next(row.human for row in rows if row.agent == TEACHER) or 0.0
                pairs.append((human, Pair(trial, best.agent)))
    return max(pairs, key=lambda pair: pair[0])[1] if pairs else None


def film(pair: Pair) -> bytes:
    """Let both play from the same start with epsilon 0.05; RtpdError if an agent is damaged."""
    folder, prefix = Run.open(pair.trial.record.path), pair.trial.prefix
    try:
        known = folder.manifest["config"].get("environment", {})
        options = replace(msgspec.convert(known, EnvOptions), episodic_life=False)
        sides = [(name, _play(folder, prefix + name, options)) for name in (TEACHER, pair.student)]
    except (msgspec.ValidationError, RtpdError) as error:
        raise RunError(f"'{folder.path}': no clip of its agents (--no-clip): {error}") from None
    pictures = [_side_by_side(sides, i) for i in range(FRAMES)]
    while len(data := _webp(pictures)) > LIMIT:
        pictures = pictures[: len(pictures) * 2 // 3]
    return data


def _play(folder: Run, agent: str, options: EnvOptions) -> tuple[np.ndarray, np.ndarray]:
    """Frames u8[T 84 84], and the return of the episode so far f32[T]."""
    import equinox as eqx
    import jax.numpy as jnp
    import jax.random as jr

    from rtpd import actor, envs
    from rtpd.policy import load

    policy, key = load(folder.agent_path(agent)), jr.key(SEED)
    env = envs.make(policy.spec.name, 1, options)
    act = eqx.filter_jit(actor.act)
    stack = jnp.zeros((1, policy.spec.stack, *policy.spec.frame_shape), policy.spec.frame_dtype)
    frames, totals, total = [], [], 0.0
    try:
        timestep = env.reset(SEED)
        for step in range(FRAMES):
            total = (0.0 if timestep.first[0] else total) + float(timestep.reward[0])
            frames.append(timestep.frame[0])
            totals.append(total)
            now = (timestep.frame, timestep.first)
            stack, action = act(policy, stack, *now, jr.fold_in(key, step), np.float32(EPSILON))
            env.send(np.asarray(action))
            timestep = env.recv()
    finally:
        env.close()
    return np.stack(frames), np.array(totals)


def _side_by_side(sides: list[tuple[str, tuple[np.ndarray, np.ndarray]]], step: int) -> Image.Image:
    """Both screens at one step, each under its agent's name and score."""
    wide, high = SCREEN
    picture = Image.new("L", (2 * wide + GAP, high + LABEL), 24)
    draw = ImageDraw.Draw(picture)
    for i, (name, (frames, totals)) in enumerate(sides):
        left = i * (wide + GAP)
        draw.text((left + 2, 4), f"{name}  {totals[step]:g}", fill=235)
        screen = Image.fromarray(frames[step]).resize(SCREEN, Image.Resampling.BICUBIC)
        picture.paste(screen, (left, LABEL))
    return picture


def _webp(pictures: list[Image.Image]) -> bytes:
    file, (first, *rest) = io.BytesIO(), pictures
    first.save(
        file, "WEBP", save_all=True, append_images=rest, duration=67, loop=0, quality=55, method=4
    )
    return file.getvalue()
