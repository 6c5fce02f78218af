"""Ranges of numbers, which stand beside the fields of settings: `Annotated[int, Range(1, 100)]`."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

_AS_GOOD_AS_NONE = 2**31 - 1  # an upper end that nobody need hear of who is below the lower one


@dataclass(frozen=True)
class Range:
    """The numbers from `least` to `most`; `most` itself is among them unless `below`."""

    least: float
    most: float
    below: bool = False

    def __contains__(self, value: float) -> bool:
        """Whether a number is in the range; NaN is in none."""
        return self.least <= value <= self.most and not (self.below and value == self.most)

    def allowed(self, value: float) -> str:
        """What to tell of the range to somebody who gave a number outside of it: "1 to 100"."""
        least, most = (
            f"{n:,}" if isinstance(n, int) else f"{n:g}" for n in (self.least, self.most)
        )
        finite = "a finite number, " if value in (math.inf, -math.inf) else ""
        if value < self.least and self.most >= _AS_GOOD_AS_NONE:
            return f"{finite}{least} or more"
        return f"{finite}{least} to {'below ' if self.below else ''}{most}"


def outside(settings: Any, path: str = "") -> Iterator[tuple[str, float, Range]]:  # noqa: ANN401
    """Every number of a dataclass, and of those it holds, that its field's range does not hold.

    Yields:
        Its dotted path (behind `path`), the number, the range.
    """
    for field in fields(settings):
        value = getattr(settings, field.name)
        if is_dataclass(value):
            yield from outside(value, f"{path}{field.name}.")
        for note in getattr(field.type, "__metadata__", ()):
            if isinstance(note, Range) and value not in note:
                yield path + field.name, value, note
