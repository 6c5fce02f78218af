"""A game in the terminal, at a pace that a person can follow."""

import time
from collections.abc import Generator
from itertools import pairwise

import numpy as np
from PIL import Image
from rich.columns import Columns
from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.live import Live
from rich.measure import Measurement
from rich.segment import Segment
from rich.style import Style
from rich.table import Table
from rich.text import Text

from rtpd.agents.play.game import Cast, Moment
from rtpd.agents.play.keys import Keys
from rtpd.agents.play.picture import actions_of
from rtpd.system.formatting import clean

BAR = 12  # characters
PANEL = 26


class Terminal:
    """Shows every step where the last one was, `fps` times a second."""

    def __init__(self, console: Console, cast: Cast, fps: float) -> None:
        """Take the lower part of the terminal, until `close`."""
        self.cast, self.fps = cast, fps
        self._console = console
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._keys = Keys()
        self._live.start()
        self._due = time.monotonic()

    def show(self, moment: Moment) -> bool:
        """Show one step, and wait until the next one is due; False once `q` was pressed."""
        self._live.update(self._drawn(moment), refresh=True)
        now = time.monotonic()
        self._due = max(self._due + 1 / self.fps, now)  # what was late is not caught up with
        time.sleep(self._due - now)
        return "q" not in self._keys.pressed().lower()

    def close(self) -> None:
        """Give the terminal back."""
        self._keys.close()
        self._live.stop()

    def _drawn(self, moment: Moment) -> RenderableType:
        wide, high = self._console.size
        panels: list[RenderableType] = [_panel(self.cast, moment, name) for name in moment.q]
        if moment.picture is not None:
            room = wide - PANEL * len(panels) - 2
            panels.insert(0, _Blocks(moment.picture, max(room, 20), max(high - 3, 8)))
        words = f"episode {moment.episode}   step {moment.step:,}   return {moment.total:g}"
        line = Text(words, "bold")
        if len(moment.q) > 1:
            line.append("   agree" if moment.agree else "   differ",
                        "green" if moment.agree else "red")  # fmt: skip
        line.append("   q ends", "dim")
        return Group(Columns(panels, padding=(0, 2)), line)


def _panel(cast: Cast, moment: Moment, name: str) -> RenderableType:
    """An agent's name and a bar for each action, longest for the greedy one."""
    q, behind = moment.q[name], moment.behind[name]
    table = Table.grid(padding=(0, 1))
    for i, action in enumerate(actions_of(cast)):
        colour = "yellow" if i == q.argmax() else "blue"
        bar = "█" * max(1, round(BAR * (1 - float(behind[i]))))
        done = "<" if moment.action == i else ""
        table.add_row(Text(clean(action)[:10]), Text(bar.ljust(BAR), colour), Text(done))
    plays = "  plays" if name == next(iter(moment.q)) else ""
    head = Text.assemble((clean(name), "bold"), (f"  {q.max():.2f}{plays}", "dim"))
    return Group(head, table)


class _Blocks:
    """A picture in half blocks: two pixels a character, one above the other."""

    def __init__(self, picture: np.ndarray, wide: int, high: int) -> None:
        image = Image.fromarray(picture)
        ratio = 160 / 210 if image.width == image.height else image.width / image.height
        rows = min(high, round(wide / ratio) // 2)
        size = (max(round(2 * rows * ratio), 1), max(2 * rows, 2))
        self.pixels = np.asarray(image.resize(size, Image.Resampling.BOX))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Generator[Segment]:
        del console, options
        for upper, lower in zip(self.pixels[::2], self.pixels[1::2], strict=True):
            pairs = np.concatenate([upper, lower], axis=1)
            starts = [0, *(np.flatnonzero((pairs[1:] != pairs[:-1]).any(axis=1)) + 1), len(pairs)]
            for start, end in pairwise(starts):
                above, below = pairs[start][:3].tolist(), pairs[start][3:].tolist()
                style = Style(color=_name(above), bgcolor=_name(below))
                yield Segment("▀" * (end - start), style)
            yield Segment.line()

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        del console, options
        return Measurement(self.pixels.shape[1], self.pixels.shape[1])


def _name(colour: list[int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)
