"""Writing files so that a crash leaves the old one or the new one, never half."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from rtpd.errors import CheckpointError


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


def sha256(data: bytes) -> str:
    """Hex digest."""
    return hashlib.sha256(data).hexdigest()
