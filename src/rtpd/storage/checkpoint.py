"""Atomic, verified save and load of a pytree of arrays with its metadata.

A checkpoint is a folder: `arrays.safetensors` (small arrays), `NAME-0000.zlib` ... (segments of the
first axis of large ones: Atari frames shrink 20 to 70 times), `meta.json`, and `sha256.json` with
the digest of every file. It is written under a temporary name, flushed to disk, and renamed, so a
folder with the final name is whole; digests are checked before anything is used.

A segment whose contents are those of the checkpoint before is a hard link to that one's file (a
copy where links are refused), so only what changed is compressed and written. Contents are compared
by their own digest, kept in `meta.json`: that needs no knowledge of what changes between two
checkpoints, and reading a replay costs far less than compressing it. A file is checked before it is
linked to, so damage is not handed on; damage done later to a shared file harms every checkpoint
that shares it.
"""

import json
import os
import shutil
import zlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from rtpd.errors import CheckpointError
from rtpd.storage.archive import why
from rtpd.storage.files import (
    discard,
    inside,
    read_json,
    sha256,
    sync_folder,
    write_json,
    write_synced,
)
from rtpd.storage.segments import Segment, Segments, bytes_of, digest_of, pack

SEGMENT_BYTES = 64 * 2**20


def save(folder: Path, tree: object, meta: dict[str, Any]) -> None:
    """Write `tree` (arrays as leaves, random keys among them) and JSON-ready `meta`."""
    before = [p for p in newest(folder.parent) if int(p.name) <= int(folder.name)]
    temporary = folder.with_name(f".{folder.name}.tmp")
    discard(temporary)
    temporary.mkdir(parents=True)
    try:
        digests = _write(temporary, tree, meta, _segments_of(before))
        write_json(temporary / "sha256.json", digests)
        sync_folder(temporary)
    except OSError:
        shutil.rmtree(temporary, ignore_errors=True)  # half a checkpoint must not fill the disk
        raise
    if folder.exists():  # only after a crash between this rename and the caller's next note
        remove(folder)
    os.replace(temporary, folder)
    sync_folder(folder.parent)


def load[Tree](
    folder: Path, like: Tree, check: Callable[[dict[str, Any]], None] = lambda meta: None
) -> tuple[Tree, dict[str, Any]]:
    """Read back a tree with the structure, shapes and dtypes of `like`, and its metadata.

    Large arrays of `like` are overwritten in place, so that a replay is never in memory twice:
    do not use `like` afterwards. It may also be abstract (`jax.eval_shape`). `check` sees the
    metadata before any array is read, and may raise CheckpointError.
    """
    files = _verified(folder)
    meta = read_json(inside(folder, "meta.json"))
    try:
        check(meta["user"])
        arrays = safetensors.numpy.load(bytes_of(files["arrays.safetensors"]))
        found = dict[str, np.ndarray | Segments](arrays)
        for name, (shape, dtype, count) in meta["large"].items():
            packed = [files[f"{name}-{i:04d}.zlib"] for i in range(count)]
            found[name] = Segments(tuple(shape), np.dtype(dtype), packed)
        return restore(like, found, folder), meta["user"]
    except CheckpointError:
        raise
    except _DAMAGE as error:  # whoever made the digests fit can have written anything
        raise CheckpointError(f"{folder} is no checkpoint: {why(error)}") from None


_DAMAGE = (LookupError, TypeError, ValueError, AttributeError, zlib.error, SafetensorError)


def restore[Tree](like: Tree, found: Mapping[str, np.ndarray | Segments], source: Path) -> Tree:
    """`like` with the arrays of the same names; CheckpointError if a shape or dtype differs."""
    wanted = _shapes(like)
    found = _one_scale_each(wanted, found)
    if wanted.keys() != found.keys():
        odd = sorted(wanted.keys() ^ found.keys())
        raise CheckpointError(f"{source} holds other arrays than asked for, first: '{odd[0]}'")
    for name, (shape, dtype) in wanted.items():
        if (found[name].shape, found[name].dtype) != (shape, dtype):
            raise CheckpointError(
                f"{source}: '{name}' is {found[name].dtype}{list(found[name].shape)}, "
                f"{dtype}{list(shape)} is needed"
            )
    leaves, treedef = jax.tree_util.tree_flatten_with_path(like)
    arrays = [_restored(leaf, found[jax.tree_util.keystr(path)]) for path, leaf in leaves]
    return jax.tree.unflatten(treedef, arrays)


def check_finite(arrays: Mapping[str, np.ndarray], source: object) -> None:
    """CheckpointError if weights or statistics that a policy acts by are not finite numbers."""
    for name, array in arrays.items():
        if np.issubdtype(array.dtype, np.inexact) and not np.isfinite(array).all():
            raise CheckpointError(f"{source}: '{name}' holds what is no finite number")


def _one_scale_each(
    wanted: Mapping[str, tuple[tuple[int, ...], np.dtype]],
    found: Mapping[str, np.ndarray | Segments],
) -> dict[str, np.ndarray | Segments]:
    """What was saved while vectors had one scale for all their features, as one for each."""
    made = dict(found)
    for name, (shape, _) in wanted.items():
        value = found.get(name)
        if name.endswith(".scale") and isinstance(value, np.ndarray) and value.shape == ():
            made[name] = np.full(shape, value)
    return made


def arrays_of(tree: object) -> dict[str, np.ndarray]:
    """The arrays of a pytree under their paths, as `restore` takes them."""
    return {name: np.asarray(leaf) for name, leaf in _leaves(tree).items()}


def newest(parent: Path) -> list[Path]:
    """Complete checkpoints in a folder, newest first; their names are step counts."""
    numbered = (p for p in parent.glob("[0-9]*") if p.name.isdecimal() and not p.is_symlink())
    whole = (p for p in numbered if (p / "sha256.json").is_file())
    return sorted(whole, key=lambda p: int(p.name), reverse=True)


def remove(folder: Path) -> None:
    """Delete a checkpoint; its digests go first, so that a half-deleted one is no checkpoint."""
    (folder / "sha256.json").unlink(missing_ok=True)
    shutil.rmtree(folder)


def _write(
    folder: Path, tree: object, meta: dict[str, Any], before: Mapping[str, Segment]
) -> dict[str, str]:
    """Write the files of a checkpoint; their digests by name. Segments are packed on all cores."""
    leaves = _leaves(tree)
    large = {name: leaf for name, leaf in leaves.items() if leaf.nbytes > SEGMENT_BYTES}
    small = {name: np.asarray(leaf) for name, leaf in leaves.items() if name not in large}
    layout, written = {}, []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for name, array in large.items():
            rows = max(1, SEGMENT_BYTES * len(array) // array.nbytes)
            starts = range(0, len(array), rows)
            paths = [folder / f"{name}-{i:04d}.zlib" for i in range(len(starts))]
            layout[name] = (array.shape, np.dtype(array.dtype).str, len(starts))
            packed = partial(pack, array, rows, before)
            written += pool.map(packed, starts, paths)
    fingerprints = {segment.path.name: segment.fingerprint for segment in written}
    about = {"large": layout, "contents": fingerprints, "user": meta}
    digests = {segment.path.name: segment.digest for segment in written}
    for name, data in (
        ("arrays.safetensors", safetensors.numpy.save(small)),
        ("meta.json", json.dumps(about, allow_nan=False).encode()),
    ):
        write_synced(folder / name, data)
        digests[name] = sha256(data)
    return digests


def _segments_of(checkpoints: list[Path]) -> dict[str, Segment]:
    """The segments of the newest of these checkpoints by file name; none of a damaged one."""
    if not checkpoints:
        return {}
    folder = checkpoints[0]
    try:
        digests = read_json(inside(folder, "sha256.json"))
        if digest_of(folder / "meta.json") != digests["meta.json"]:
            return {}
        found = read_json(inside(folder, "meta.json")).get("contents", {})
        return {name: Segment(inside(folder, name), found[name], digests[name]) for name in found}
    except (CheckpointError, LookupError, TypeError, AttributeError):
        return {}


def _verified(folder: Path) -> dict[str, Path]:
    """The files of a checkpoint by name; CheckpointError unless each has its digest."""
    listed = read_json(inside(folder, "sha256.json"))
    there = {"arrays.safetensors", "meta.json", *(p.name for p in folder.glob("*.zlib"))}
    if not isinstance(listed, dict) or not there <= listed.keys():
        raise CheckpointError(f"{folder / 'sha256.json'} is damaged: it does not list all files")
    files = {name: inside(folder, name) for name in listed}
    for name, path in files.items():
        if sha256(bytes_of(path)) != listed[name]:
            raise CheckpointError(f"{path} is damaged: its sha256 differs")
    return files


def _is_key(leaf: Any) -> bool:  # noqa: ANN401
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _leaves(tree: object) -> dict[str, Any]:
    """The arrays of a pytree under their paths, random keys as the numbers they are made of."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {
        jax.tree_util.keystr(path): jax.random.key_data(leaf) if _is_key(leaf) else leaf
        for path, leaf in leaves
    }


def _shapes(tree: object) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """Names, shapes and dtypes without touching the arrays, which may be abstract."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    shapes = {}
    for path, leaf in leaves:
        like = jax.eval_shape(jax.random.key_data, leaf) if _is_key(leaf) else leaf
        shapes[jax.tree_util.keystr(path)] = (like.shape, np.dtype(like.dtype))
    return shapes


def _restored(leaf: Any, array: np.ndarray | Segments) -> jax.Array:  # noqa: ANN401
    data = array.into(leaf) if isinstance(array, Segments) else jax.numpy.asarray(array)
    return jax.random.wrap_key_data(data) if _is_key(leaf) else data
