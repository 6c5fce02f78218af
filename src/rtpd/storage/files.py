"""Reading files of strangers under limits; writing so that a crash leaves the old or the new one.

Every reader goes through `contents`, which takes no more memory than it is told to and waits for no
pipe, and through `parse_json`, which knows how JSON can be made to hurt. Every writer makes a new
file (`write_synced`) or adds to a regular one (`appended`): what a stranger may have left under
that name, a pipe or a link, is neither waited for nor written through. `inside` finds files of a
folder that may be a stranger's.
"""

import contextlib
import errno
import hashlib
import json
import math
import os
import secrets
import shutil
import stat
from collections.abc import Buffer
from pathlib import Path, PurePosixPath
from typing import IO, Any

from rtpd.errors import CheckpointError, RequestError, RunError

MOST_BYTES = 2**30  # of a file that is read as a whole
MOST_JSON_BYTES = 2**26


def write_atomic(path: Path, data: bytes) -> None:
    """Write beside `path`, flush to disk, rename over it, flush the folder."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        write_synced(temporary, data)
        os.replace(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_synced(path: Path, data: bytes) -> None:
    """Write a new file and flush it to disk; FileExistsError if anything has that name."""
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def is_temporary(name: str) -> bool:
    """Whether a file or folder of this name is what a writer makes before it is renamed."""
    return name.startswith(".") and name.endswith(".tmp")


def remove_temporaries(folder: Path) -> None:
    """Remove what writers that were killed have left in a folder in which nobody writes now."""
    for path in folder.iterdir() if folder.is_dir() else ():
        if is_temporary(path.name):
            discard(path)


def discard(path: Path) -> None:
    """Remove a file, a link or a folder with all that is in it; links are not followed."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def link_or_copy(source: Path, target: Path) -> None:
    """The same file under another name; a copy of it, flushed to disk, where links are refused."""
    try:
        os.link(source, target)
    except OSError:
        write_synced(target, contents(source))


def appended(path: Path) -> IO[bytes]:
    """A regular file to append to, made if need be; RunError for a link, a pipe, a folder."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    refused = RunError(f"'{path}' is a link, a pipe or a folder: a plain file is needed")
    try:
        file = open(path, "ab", opener=lambda name, _: os.open(name, flags, 0o666))
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.EISDIR):
            raise refused from None
        raise
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise refused
    return file


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


def finite(value: Any) -> Any:  # noqa: ANN401
    """The same JSON with numbers that are not finite replaced by None."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    if isinstance(value, float) and not (-float("inf") < value < float("inf")):
        return None
    return value


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
        return json.loads(
            text, parse_constant=_refuse, parse_float=_finite, object_pairs_hook=_object
        )
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no number in JSON")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text[:40]} is too large a number")
    return number


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
        with opened(path) as file:
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


def opened(path: Path, flags: int = 0) -> IO[bytes]:
    """Open to read whatever is there, without waiting for whoever might write to a pipe."""
    how = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | flags
    return open(path, "rb", opener=lambda name, _: os.open(name, how))  # closed if it is a folder


def inside(folder: Path, name: str) -> Path:
    """`folder/name`; CheckpointError if that would lead out of the folder.

    Neither a name from a file of strangers nor a link in their folder may.
    """
    parts = name.split("/")
    plain = name.isprintable() and 0 < len(name) <= 200 and not PurePosixPath(name).is_absolute()
    if not plain or not {"", ".", ".."}.isdisjoint(parts):
        raise CheckpointError(f"{folder}: {name[:200]!r} is no name of a file in it")
    path = folder / name
    try:
        within = path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError):  # a link to itself
        within = False
    if not within:
        raise CheckpointError(f"{path} is a link that leads out of '{folder}'")
    return path


def sha256(data: Buffer) -> str:
    """Hex digest."""
    return hashlib.sha256(data).hexdigest()
