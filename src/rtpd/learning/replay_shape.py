"""What a replay holds and how large it is, from the settings alone; `replay` makes one so."""

import math
from collections.abc import Iterable
from typing import NamedTuple

from rtpd.config.settings import Config, StudentConfig
from rtpd.learning.teachers import schedule_of

_ITEM_BYTES = {"bool": 1, "uint8": 1, "int32": 4, "float32": 4}


class ReplayShape(NamedTuple):
    """Rows of E envs, and what is kept of each transition."""

    rows: int
    num_envs: int
    frame_shape: tuple[int, ...]
    frame_dtype: str
    prioritised: bool = False
    answers: int = 0  # Q-values of the teacher that acted

    @property
    def arrays(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Shape and dtype of each array of a `Replay`, by its field."""
        each = (self.rows, self.num_envs)
        arrays = {
            "frames": ((*each, *self.frame_shape), self.frame_dtype),
            "action": (each, "int32"),
            "reward": (each, "float32"),
            "first": (each, "bool"),
            "terminal": (each, "bool"),
            "last": (each, "bool"),
            "cursor": ((), "int32"),
            "filled": ((), "int32"),
        }
        if self.prioritised:
            arrays["priority"] = (each, "float32")
        if self.answers:
            arrays["q"] = ((*each, self.answers), "float32")
        return arrays

    @property
    def num_bytes(self) -> int:
        """Memory that it takes."""
        return sum(math.prod(shape) * _ITEM_BYTES[dtype] for shape, dtype in self.arrays.values())


def replay_shape(
    config: Config, students: Iterable[StudentConfig], frame_shape: tuple[int, ...],
    frame_dtype: str, num_actions: int,
) -> ReplayShape:  # fmt: skip
    """The replay of a game of such frames; `students`: the settings that hold for each of them."""
    schedule = schedule_of(config)
    stored = any(student.targets == "stored" for student in students)
    answered = schedule.on_policy or schedule.consolidates or stored
    return ReplayShape(
        rows=config.replay.capacity // config.num_envs,
        num_envs=config.num_envs,
        frame_shape=frame_shape,
        frame_dtype=frame_dtype,
        prioritised=bool(config.replay.priority),
        answers=num_actions if answered else 0,
    )
