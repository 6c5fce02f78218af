"""What a person sees of one step: the screen, and beside it what each agent says of it."""

from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from rtpd.agents.play.game import Cast, Moment
from rtpd.learning.distillation import LOSSES
from rtpd.networks.policy import HostPolicy, Policy

HEIGHT, PANEL, FOOTER, EDGE = 420, 184, 34, 10  # pixels
BACK, ROW, FAINT, TEXT = (18, 20, 24), (34, 38, 45), (150, 156, 166), (228, 231, 236)
BAR, BEST, AGREE, DIFFER = (86, 140, 214), (244, 184, 72), (92, 190, 122), (232, 96, 92)


def draw(cast: Cast, moment: Moment) -> Image.Image:
    """The step as one RGB picture; all pictures of a game have the same, even size."""
    screen = _screen(moment.picture)
    left = screen.width if screen else 0
    wide = left + PANEL * len(moment.q)
    picture = Image.new("RGB", (wide + wide % 2, HEIGHT + FOOTER), BACK)
    if screen:
        picture.paste(screen, (0, 0))
    pen = ImageDraw.Draw(picture)
    for i, name in enumerate(moment.q):
        _panel(pen, left + i * PANEL + EDGE, cast, moment, name)
    _footer(pen, picture.width, moment)
    return picture


def actions_of(cast: Cast) -> list[str]:
    """What each action is called."""
    spec = cast.driver.spec
    return list(spec.action_meanings) or [str(i) for i in range(spec.num_actions)]


def _screen(picture: np.ndarray | None) -> Image.Image | None:
    """The screen at the height of the film; Atari's pixels stay sharp."""
    if picture is None:
        return None
    image = Image.fromarray(picture)
    wide = round(HEIGHT * image.width / image.height)
    if image.width == image.height:  # an agent's own frame: in the proportions of the console
        wide = HEIGHT * 160 // 210
    exact = HEIGHT % image.height == 0
    how = Image.Resampling.NEAREST if exact else Image.Resampling.BICUBIC
    return image.resize((wide, HEIGHT), how)


def _panel(pen: ImageDraw.ImageDraw, left: int, cast: Cast, moment: Moment, name: str) -> None:
    """An agent's name, and for each action a bar that is longest for the greedy one."""
    q, behind = moment.q[name], moment.behind[name]
    best, wide = int(q.argmax()), PANEL - 2 * EDGE
    pen.text((left, 8), _fitting(name, wide), TEXT, _font(16))
    says = f"{called(cast.policies[name])} {q[best]:.2f}"
    says += "   plays" if name == next(iter(moment.q)) else ""
    pen.text((left, 28), says, FAINT, _font(12))
    row = min(34, (HEIGHT - 56) // len(q))
    small = _font(max(8, min(12, row - 3)))
    for i, action in enumerate(actions_of(cast)):
        top = 52 + i * row
        long = 1 + round((wide - 1) * (1 - float(behind[i])))
        pen.rectangle((left, top, left + wide, top + row - 3), ROW)
        pen.rectangle((left, top, left + long, top + row - 3), BEST if i == best else BAR)
        done = " <" if moment.action == i else ""
        ink = BACK if long > wide / 2 else TEXT
        pen.text((left + 4, top + (row - 3) / 2), action + done, ink, small, anchor="lm")


def called(policy: Policy | HostPolicy) -> str:
    """What its outputs are: those of a policy, and of a student that follows one, are logits."""
    loss = LOSSES.get(str(policy.provenance.get("loss")))
    is_value = policy.head.gives_q and (loss is None or loss.needs_q)
    return "value" if is_value else "logit"


def _footer(pen: ImageDraw.ImageDraw, wide: int, moment: Moment) -> None:
    words = f"episode {moment.episode}   step {moment.step:,}   return {moment.total:g}"
    pen.text((EDGE, HEIGHT + FOOTER / 2), words, TEXT, _font(14), anchor="lm")
    if len(moment.q) > 1:
        colour, word = (AGREE, "agree") if moment.agree else (DIFFER, "differ")
        pen.text((wide - EDGE, HEIGHT + FOOTER / 2), word, colour, _font(14), anchor="rm")
        pen.rectangle((0, HEIGHT, wide, HEIGHT + 3), colour)


def _fitting(name: str, wide: int) -> str:
    font = _font(16)
    while font.getlength(name) > wide:
        name = name[:-2] + "…"
    return name


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
