"""Writing files so that a crash leaves the old one or the new one, never half."""

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Buffer, Callable
from pathlib import Path
from typing import IO, Any

from rtpd.errors import CheckpointError, RunError


def write_atomic(path: Path, data: bytes) -> None:
    """Write beside `path`, flush to disk, rename over it, flush the folder."""
    temporary = path.with_name(f".{path.name}.tmp")
    write_synced(temporary, data)
    os.replace(temporary, path)
    sync_folder(path.parent)


def write_synced(path: Path, data: bytes) -> None:
    """Write and flush to disk."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def link_or_copy(source: Path, target: Path) -> None:
    """The same file under another name; a copy of it, flushed to disk, where links are refused."""
    try:
        os.link(source, target)
    except OSError:
        write_synced(target, source.read_bytes())


def lock(path: Path, taken: Callable[[], str], patience: float = 0.0) -> IO[bytes]:
    """A file to append to, locked for as long as this process or a child has it open.

    The lock ends with its holders, however they die.

    Raises:
        RunError: with the text of `taken`, if another holds it for `patience` seconds.
    """
    file = path.open("ab")
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


def sync_folder(folder: Path) -> None:
    """Flush a folder's list of names to disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: Path, value: Any) -> None:  # noqa: ANN401
    """Write indented JSON atomically; NaN is refused rather than written as no JSON."""
    text = json.dumps(value, indent=2, allow_nan=False)
    write_atomic(path, (text + "\n").encode())


def read_json(path: Path) -> Any:  # noqa: ANN401
    """Read JSON; CheckpointError in one line if it is missing or damaged."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"cannot read {path}: {error}") from None


def sha256(data: Buffer) -> str:
    """Hex digest."""
    return hashlib.sha256(data).hexdigest()
