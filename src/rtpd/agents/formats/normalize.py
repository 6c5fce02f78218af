"""What vectors were centred and scaled by when an agent was trained, where its file does not say.

Stable-Baselines3's VecNormalize keeps it beside its agents, in a pickle: see `vec_normalize`.
"""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from rtpd.errors import CheckpointError, RequestError, shortened
from rtpd.storage.archive import Archive, why
from rtpd.storage.files import contents, parse_json
from rtpd.types import EnvSpec

MOST_BYTES = 2**24
_EPSILON = 1e-8  # of VecNormalize


class Normalize(NamedTuple):
    """Observations less `mean`, divided by `deviation`, each f32[D]."""

    mean: Float[np.ndarray, " D"]
    deviation: Float[np.ndarray, " D"]

    def __call__(self, obs: np.ndarray) -> np.ndarray:
        """Of a batch f32[N D], or f32[N K*D] of stacks."""
        parts = obs.reshape(len(obs), -1, len(self.mean))
        return ((parts - self.mean) / self.deviation).reshape(obs.shape)

    def check(self, spec: EnvSpec) -> None:
        """RequestError with both shapes unless it is for what `spec` shows."""
        if spec.is_image or spec.frame_shape != self.mean.shape:
            raise RequestError(
                f"--teacher-normalize has statistics of {list(self.mean.shape)}, "
                f"{spec.name} shows {list(spec.frame_shape)}: allowed: those of the same vectors"
            )

    def as_json(self) -> dict[str, list[float]]:
        """What `of` takes back, to the bit."""
        return {name: getattr(self, name).tolist() for name in self._fields}


def read(path: Path) -> Normalize:
    """The statistics in a .npz or .json of `mean` and `var` [D] (and `epsilon`, 1e-8 if not said).

    Raises:
        RequestError: if there is no such file.
        CheckpointError: if it holds something else.
    """
    data = contents(path, MOST_BYTES)
    if path.suffix == ".json":
        return _from_table(path, _json(path, data))
    archive = Archive(data, str(path))
    return _from_table(path, {n.removesuffix(".npy"): _array(archive, n) for n in archive.names})


def of(path: Path, mean: ArrayLike, deviation: ArrayLike) -> Normalize:
    """The statistics of a file; CheckpointError unless they are finite numbers that can divide."""
    with np.errstate(all="ignore"):
        found = Normalize(np.asarray(mean, np.float32), np.asarray(deviation, np.float32))
    shapes = f"mean {list(found.mean.shape)} and deviation {list(found.deviation.shape)}"
    if found.mean.ndim != 1 or found.mean.shape != found.deviation.shape:
        raise CheckpointError(f"'{path}' has a {shapes}: allowed: both [D]")
    if not np.isfinite(found).all() or not (found.deviation > 0).all():
        raise CheckpointError(f"'{path}' has a mean or a variance that is no finite number above 0")
    return found


def _json(path: Path, data: bytes) -> dict[str, np.ndarray]:
    try:
        return {name: np.asarray(value, np.float64) for name, value in parse_json(data).items()}
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        raise CheckpointError(f"'{path}' is no JSON of mean and var: {why(error)}") from None


def _array(archive: Archive, name: str) -> np.ndarray:
    """A member as numbers of float64, at most as many as it has bytes."""
    data = archive.read(name, MOST_BYTES)
    file = io.BytesIO(data)
    try:
        np.lib.format.read_magic(file)
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        if dtype.kind != "f" or len(shape) > 1:
            raise ValueError(f"it holds {dtype}{list(shape)}")
        return np.frombuffer(data[file.tell() :], dtype).reshape(shape).astype(np.float64)
    except (ValueError, TypeError, OverflowError) as error:
        raise CheckpointError(
            f"{archive.source}: {name!r} is no array of numbers: {why(error)}"
        ) from None


def _from_table(path: Path, table: Mapping[str, np.ndarray]) -> Normalize:
    if not {"mean", "var"} <= set(table):
        raise CheckpointError(
            f"'{path}' holds {shortened(', '.join(table), 100)}: allowed: mean, var, epsilon"
        )
    with np.errstate(all="ignore"):
        deviation = np.sqrt(table["var"] + table.get("epsilon", _EPSILON))
    return of(path, table["mean"], deviation)
