"""Files that are locked by one process at a time, for as long as it lives."""

import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

from rtpd.errors import RunError
from rtpd.storage.files import appended, opened


def lock(path: Path, taken: Callable[[], str], patience: float = 0.0) -> IO[bytes]:
    """A file to append to, locked for as long as this process or a child has it open.

    The lock ends with its holders, however they die.

    Raises:
        RunError: with the text of `taken`, if another holds it for `patience` seconds; if the path
            leads to what is no plain file.
    """
    file = appended(path)
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return file
        except BlockingIOError:
            if time.monotonic() >= deadline:
                file.close()
                raise RunError(taken()) from None
        time.sleep(0.1)


def is_locked(path: Path) -> bool:
    """Whether a process holds `lock(path)`; False where there is no such file."""
    try:
        with opened(path, os.O_NOFOLLOW) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
