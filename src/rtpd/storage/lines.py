"""Files of JSON objects, one a line: what a stranger's lines may hold, and when it is too much."""

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rtpd.errors import CheckpointError
from rtpd.storage.files import parse_json

MOST_LINES, MOST_ODD_LINES = 2**22, 1_000


class Tolerance:
    """Counts the lines of a file of records, and those among them that are none.

    A few are passed over. CheckpointError once there are too many of those, or of all: that is no
    file of records.
    """

    def __init__(self, source: Path) -> None:
        """`source` stands in the message."""
        self.source, self._lines, self._odd = source, 0, 0

    def count(self, *, odd: bool = False) -> None:
        """One more line; `odd` if it is no record."""
        self._lines += 1
        self._odd += odd
        self.check()

    def check(self) -> None:
        """Raise what `count` has raised before."""
        if self._odd > MOST_ODD_LINES or self._lines > MOST_LINES:
            most = f"{MOST_ODD_LINES:,} lines that are no records, {MOST_LINES:,} in all"
            raise CheckpointError(f"{self.source} is damaged: more than {most}")


def records(data: bytes, source: Path) -> Iterator[dict[str, Any]]:
    """The JSON objects in lines of text, whatever they say; other lines: see `Tolerance`."""
    tolerance = Tolerance(source)
    for line in io.BytesIO(data):
        record = None
        if line.startswith(b"{"):  # else it is not worth a parse and its error
            with contextlib.suppress(ValueError):
                record = parse_json(line)
        tolerance.count(odd=record is None)
        if record is not None:
            yield record
