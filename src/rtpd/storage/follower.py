"""A metrics.jsonl while it grows, each of its lines read once."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from rtpd.storage.files import MOST_BYTES, opened
from rtpd.storage.lines import Tolerance
from rtpd.storage.records import Record, parse_records

MARK_BYTES = 512  # before the place to read on from: a line or more, so two runs differ in them


class Follower:
    """What is new in a file of records, which may be cut back, replaced, or not be there.

    A run that is resumed has its last lines cut off, and one that is started anew has none of the
    old: whenever the bytes before the place to read on from are others than they were, the file is
    read again from its start.
    """

    def __init__(self, file: Path) -> None:
        """Nothing is read yet; the file need not exist."""
        self.file = file
        self._restart()

    def _restart(self) -> None:
        self.restarted = True  # whether the last `read` began anew: what it told before is over
        self.version = (0, 0)  # another one once there is more to read, or something else
        self.written: float | None = None  # when, in seconds since 1970
        self._mark = b""
        self._tolerance = Tolerance(self.file)

    def read(self) -> Iterator[Record]:
        """The records in all whole lines that are new; lines that are none are passed over.

        CheckpointError, now and later, if there are too many of those, as long as it is that file.
        A link, a pipe or a folder is no such file, and is not waited for.
        """
        self.restarted = False
        try:
            file = opened(self.file, os.O_NOFOLLOW)
        except OSError:  # not written yet, or removed
            self._restart()
            return iter(())
        with file:
            about = os.fstat(file.fileno())
            lines = self._new_lines(file.fileno(), about) if stat.S_ISREG(about.st_mode) else b""
        return (record for _, record in parse_records(lines, self._tolerance))

    def _new_lines(self, handle: int, about: os.stat_result) -> bytes:
        start = self.version[1]
        if os.pread(handle, len(self._mark), start - len(self._mark)) != self._mark:
            self._restart()
            start = 0
        data = os.pread(handle, max(min(about.st_size, MOST_BYTES) - start, 0), start)
        lines = data[: data.rfind(b"\n") + 1]  # the last line may still be being written
        end = start + len(lines)
        self._mark = os.pread(handle, min(end, MARK_BYTES), max(end - MARK_BYTES, 0))
        self.written, self.version = about.st_mtime, (about.st_ino, end)
        return lines
