"""PyTorch's saved state dicts as NumPy arrays, without PyTorch and without running anything.

What `torch.save` writes (since PyTorch 1.6) is a zip of FOLDER/data.pkl, a pickle that says which
tensors there are, and FOLDER/data/KEY, the bytes of a storage each. The few instructions that a
state dict consists of are followed (`pickled`), and any other instruction or name is refused.
"""

import warnings
from collections.abc import Callable
from functools import cache

import numpy as np

from rtpd.agents.formats.pickled import PickleReader, follow
from rtpd.errors import CheckpointError
from rtpd.storage.archive import MOST_BYTES, Archive, why

_DICT, _TENSOR = "collections.OrderedDict", "torch._utils._rebuild_tensor_v2"
_STORAGES = {
    "torch.DoubleStorage": np.dtype("<f8"),
    "torch.FloatStorage": np.dtype("<f4"),
    "torch.HalfStorage": np.dtype("<f2"),
    "torch.LongStorage": np.dtype("<i8"),
    "torch.IntStorage": np.dtype("<i4"),
    "torch.ShortStorage": np.dtype("<i2"),
    "torch.CharStorage": np.dtype("i1"),
    "torch.ByteStorage": np.dtype("u1"),
    "torch.BoolStorage": np.dtype("?"),
}
_ALLOWED = (_DICT, _TENSOR, *_STORAGES)
_MOST_PICKLE_BYTES = 2**18  # some 200 a tensor


def state_dict(data: bytes, source: str) -> dict[str, np.ndarray]:
    """The tensors of a file by name, read-only; `source` stands in every message.

    They are the file's own dict, or `model_weights` in it, beside which other plain values may be.

    Raises:
        CheckpointError: if it is damaged, of an older format, or asks for anything but tensors.
    """
    if data[:1] == b"\x80":
        raise CheckpointError(
            f"{source} is in the format of PyTorch before 1.6: load and save it with a newer one"
        )
    archive = Archive(data, source)
    pickles = [name for name in archive.names if name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise CheckpointError(
            f"{source} is no file of torch.save: it holds {len(pickles)} data.pkl"
        )
    folder = pickles[0].removesuffix("data.pkl")
    order = f"{folder}byteorder"
    if order in archive.names and archive.read(order, 100) != b"little":
        raise CheckpointError(f"{source}: its byte order is not little-endian")
    pickle = archive.read(pickles[0], _MOST_PICKLE_BYTES)
    try:
        with warnings.catch_warnings(action="ignore"):  # of escape sequences in damaged names
            found = follow(pickle, _StateDict(_storages(archive, folder)))
    except (LookupError, TypeError, ValueError, OverflowError) as error:
        raise CheckpointError(f"{source}: its list of tensors is damaged: {why(error)}") from None
    except _Refused as refused:
        raise CheckpointError(
            f"{source} asks for {refused}, which is not run: allowed: tensors in a dict"
        ) from None
    if isinstance(found, dict) and isinstance(found.get("model_weights"), dict):
        found = found["model_weights"]
    if not isinstance(found, dict) or not all(isinstance(a, np.ndarray) for a in found.values()):
        raise CheckpointError(f"{source} is no dict of tensors")
    size = sum(array.nbytes for array in found.values())
    if size > MOST_BYTES:  # of many that share a storage
        raise CheckpointError(f"{source}: tensors of {size:,} bytes: allowed: {MOST_BYTES:,}")
    return found


class _Refused(Exception):
    """A name or an instruction that no state dict needs."""


class _StateDict(PickleReader):
    """Names stay strings; persistent ids are storages."""

    values = frozenset({"BINFLOAT"})
    others = frozenset({"BINPERSID"})

    def __init__(self, storage: Callable[[object], np.ndarray]) -> None:
        self._storage = storage

    def name(self, module: object, name: object) -> str:
        return _name(module, name)

    def call(self, called: object, given: tuple) -> object:
        return _made(called, given)

    def build(self, made: object, state: object) -> None:
        """Nothing: attributes of a dict, which are the versions of PyTorch's modules."""

    def persistent(self, key: object) -> np.ndarray:
        return self._storage(key)

    def refused(self, instruction: str) -> Exception:
        return _Refused(f"pickle instruction {instruction}")


def _name(module: object, name: object) -> str:
    if not isinstance(module, str) or not isinstance(name, str):
        raise TypeError("a name is no text")
    full = f"{module}.{name}"
    if full not in _ALLOWED:
        raise _Refused(repr(full[:200]))
    return full


def _made(name: object, given: tuple) -> object:
    """What calling one of the two allowed functions would give."""
    if not isinstance(name, str):
        raise TypeError("it calls what is no name")
    if name == _TENSOR:
        return _tensor(*given)
    if name != _DICT or given != ():
        raise ValueError(f"it calls {name!r:.100}")
    return {}


def _tensor(storage: np.ndarray, offset: int, size: tuple, stride: tuple, *_: object) -> np.ndarray:
    """A view of a storage; NumPy itself checks that it stays inside."""
    if not isinstance(storage, np.ndarray):
        raise TypeError("a tensor has no storage")
    bytes_ = storage.itemsize
    tensor = np.ndarray(size, storage.dtype, storage, offset * bytes_, [s * bytes_ for s in stride])
    if tensor.size > storage.size:
        raise ValueError(f"a tensor of {tensor.size:,} numbers in a storage of {storage.size:,}")
    return tensor


def _storages(archive: Archive, folder: str) -> Callable[[object], np.ndarray]:
    """From persistent ids ("storage", type, key, device, count) to arrays."""
    read = cache(archive.read)

    def storage(given: object) -> np.ndarray:
        kind, name, key, _, count = given  # ty: ignore[not-iterable]
        types = (type(part) for part in (kind, name, key, count))
        if tuple(types) != (str, str, str, int) or kind != "storage":
            raise TypeError("a storage is damaged")
        dtype, data = _STORAGES[name], read(f"{folder}data/{key}")
        if len(data) != count * dtype.itemsize:
            raise ValueError(f"storage {key!r} has {len(data):,} bytes, not {count} of {dtype}")
        return np.frombuffer(data, dtype)

    return storage
