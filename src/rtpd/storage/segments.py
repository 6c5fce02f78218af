"""Large arrays on disk: compressed pieces of the first axis, written only where they changed."""

import math
import zlib
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from rtpd.errors import CheckpointError, RequestError
from rtpd.storage.files import contents, link_or_copy, sha256, write_synced

MOST_FILE_BYTES = 2**34  # arrays.safetensors of many games


class Segments(NamedTuple):
    """A large array in compressed pieces of its first axis."""

    shape: tuple[int, ...]
    dtype: np.dtype
    packed: list[Path]

    def into(self, leaf: Any) -> jax.Array:  # noqa: ANN401
        """Unpack piece by piece over `leaf`, if it holds memory."""
        fresh = isinstance(leaf, jax.ShapeDtypeStruct) or leaf.is_deleted()
        array, row = jax.numpy.zeros(self.shape, self.dtype) if fresh else leaf, 0
        each = math.prod(self.shape[1:]) * self.dtype.itemsize
        for path in self.packed:
            data = _unpacked(bytes_of(path), (self.shape[0] - row) * each)
            part = np.frombuffer(data, self.dtype).reshape(-1, *self.shape[1:])
            array = _overwrite(array, part, row)
            row += len(part)
        if row != self.shape[0]:
            raise ValueError(f"{row:,} of {self.shape[0]:,} rows are there")
        return array


def _unpacked(packed: bytes, most: int) -> bytes:
    """What zlib packed; ValueError before it takes more than `most` bytes."""
    stream = zlib.decompressobj()
    data = stream.decompress(packed, most + 1)
    if len(data) > most or not stream.eof or stream.unused_data:
        raise ValueError(f"a segment does not unpack to {most:,} bytes or fewer")
    return data


@partial(jax.jit, donate_argnums=0)
def _overwrite(array: jax.Array, part: jax.Array, row: int) -> jax.Array:
    return jax.lax.dynamic_update_slice_in_dim(array, part, row, 0)


class Segment(NamedTuple):
    """A compressed segment on disk."""

    path: Path
    fingerprint: str  # sha256 of what is packed in it
    digest: str  # sha256 of the file


def pack(
    array: jax.Array, rows: int, before: Mapping[str, Segment], start: int, path: Path
) -> Segment:
    """Write the segment that begins with row `start`, or link to the same one of `before`.

    The rows are copied first: as long as NumPy looks at a whole array, JAX cannot update it in
    place and would copy all of it.
    """
    part = np.asarray(_rows(array, start, min(rows, len(array) - start)))
    fingerprint = sha256(part)
    old = before.get(path.name)
    if old and old.fingerprint == fingerprint and digest_of(old.path) == old.digest:
        link_or_copy(old.path, path)
        return Segment(path, fingerprint, old.digest)
    data = zlib.compress(part, 1)
    write_synced(path, data)
    return Segment(path, fingerprint, sha256(data))


@partial(jax.jit, static_argnums=2)
def _rows(array: jax.Array, start: int, count: int) -> jax.Array:
    return jax.lax.dynamic_slice_in_dim(array, start, count)


def bytes_of(path: Path) -> bytes:
    """The bytes of a file of a checkpoint; CheckpointError if it is missing."""
    try:
        return contents(path, MOST_FILE_BYTES)
    except RequestError as error:
        raise CheckpointError(f"{path} is missing: {error}") from None


def digest_of(path: Path) -> str | None:
    """The sha256 of a file; None if it cannot be read."""
    try:
        return sha256(bytes_of(path))
    except CheckpointError:
        return None
