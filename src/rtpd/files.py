"""Reading files of strangers under limits; writing so that a crash leaves the old or the new one.

Every reader goes through `contents`, which takes no more memory than it is told to and waits for no
pipe, and through `parse_json`, which knows how JSON can be made to hurt.
"""

import fcntl
import hashlib
import json
import os
import secrets
import stat
import time
from collections.abc import Buffer, Callable
from pathlib import Path, PurePosixPath
from typing import IO, Any

from rtpd.errors import CheckpointError, RequestError, RunError

MOST_BYTES = 2**30  # of a file that is read as a whole
MOST_JSON_BYTES = 2**26


def write_atomic(path: Path, data: bytes) -> None:
    """Write beside `path`, flush to disk, rename over it, flush the folder.

    The temporary name, `.NAME.RANDOM.tmp`, is this call's own: of two that write at once, each
    writes whole files.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        write_synced(temporary, data)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_synced(path: Path, data: bytes) -> None:
    """Write a new file and flush it to disk; FileExistsError if there is one of that name."""
    with path.open("xb") as file:
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


def is_locked(path: Path) -> bool:
    """Whether a process holds `lock(path)`; False where there is no such file."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def check_writable(path: Path) -> None:
    """RequestError if no new file can be written as `path`, the value of --out."""
    if path.is_dir():
        raise RequestError(f"--out '{path}' is a folder: name a file")
    if not path.parent.is_dir():
        raise RequestError(f"--out '{path}': there is no folder '{path.parent}'")
    if not os.access(path.parent, os.W_OK):
        raise RequestError(f"--out '{path}': the folder '{path.parent}' cannot be written to")


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
        return parse_json(contents(path, MOST_JSON_BYTES))
    except ValueError as error:
        raise CheckpointError(f"cannot read {path}: {error}") from None
    except RequestError as error:
        raise CheckpointError(f"cannot read {path}: {error}") from None


def parse_json(data: bytes) -> Any:  # noqa: ANN401
    """What JSON says; ValueError, on one line, for anything but plain JSON in UTF-8.

    NaN and infinities, a name that is twice in an object, numbers of thousands of digits and deep
    nesting are refused.
    """
    try:
        text = data.decode("utf-8")
        return json.loads(text, parse_constant=_refuse, object_pairs_hook=_object)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no number in JSON")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name is twice in an object")
    return found


def contents(path: Path, most: int = MOST_BYTES) -> bytes:
    """The bytes of a regular file, of which there may be `most`.

    RequestError if there is no such file; CheckpointError if it is too large or cannot be read.
    Pipes and devices count as no file, and are not waited for.
    """
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            about = os.fstat(file.fileno())
            if not stat.S_ISREG(about.st_mode):
                raise RequestError(f"there is no file '{path}'")
            data = file.read(min(about.st_size, most) + 1)
            size = max(about.st_size, len(data))
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise RequestError(f"there is no file '{path}'") from None
    except (OSError, ValueError) as error:  # ValueError: NUL or a surrogate in the name
        why = error.strerror if isinstance(error, OSError) else error
        raise CheckpointError(f"cannot read {path}: {why}") from None
    if size > most:
        raise CheckpointError(f"{path} has {size:,} bytes: allowed: {most:,}")
    return data


def inside(folder: Path, name: str) -> Path:
    """`folder/name`; CheckpointError if a name from a file of strangers would lead elsewhere."""
    parts = name.split("/")
    plain = name.isprintable() and 0 < len(name) <= 200 and not PurePosixPath(name).is_absolute()
    if not plain or not {"", ".", ".."}.isdisjoint(parts):
        raise CheckpointError(f"{folder}: {name[:200]!r} is no name of a file in it")
    return folder / name


def sha256(data: Buffer) -> str:
    """Hex digest."""
    return hashlib.sha256(data).hexdigest()
