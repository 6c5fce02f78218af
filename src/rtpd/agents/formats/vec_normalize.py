"""The statistics in a pickle of Stable-Baselines3's VecNormalize, without unpickling it.

What it would call is only noted (`pickled`), as a name with what it is given; of that tree two
arrays and a number are looked up.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rtpd.agents.formats import normalize
from rtpd.agents.formats.normalize import Normalize
from rtpd.agents.formats.pickled import PickleReader, follow
from rtpd.errors import CheckpointError, RequestError
from rtpd.storage.archive import why
from rtpd.storage.files import contents

MOST_BYTES = 2**22  # the numbers of the largest vectors, several times


@dataclass
class Noted:
    """What a pickle asks to be called: the name, what it is given, and the state it then gets."""

    name: str
    given: object = ()
    state: object = None


class _Noting(PickleReader):
    """With `Noted` in the place of every name and call."""

    values = frozenset("LONG1 BINFLOAT BINBYTES SHORT_BINBYTES".split())
    others = frozenset("EMPTY_LIST APPEND APPENDS NEWOBJ".split())

    def name(self, module: object, name: object) -> Noted:
        return Noted(f"{module}.{name}")

    def call(self, called: Noted, given: object) -> Noted:
        return Noted(called.name, given)

    def build(self, made: Noted, state: object) -> None:
        made.state = state


def read(path: Path) -> Normalize:
    """Mean and deviation of the observations.

    Raises:
        RequestError: if there is no such file, or it is of something else, or of dicts.
        CheckpointError: if it is damaged.
    """
    data = contents(path, MOST_BYTES)
    try:
        found = follow(data, _Noting())
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise CheckpointError(f"'{path}' is no pickle that can be read: {why(error)}") from None
    about: Any = found.state if isinstance(found, Noted) else None
    rms = about.get("obs_rms") if isinstance(about, dict) else None
    if isinstance(rms, dict):
        raise RequestError(f"'{path}' normalises observations that are dicts: they are not read")
    if isinstance(about, dict) and about.get("norm_obs") is False:
        raise RequestError(
            f"'{path}' was saved with norm_obs=False: its agent has seen observations as they are, "
            "without --teacher-normalize"
        )
    if not isinstance(rms, Noted) or not isinstance(rms.state, dict):
        raise RequestError(f"'{path}' holds no 'obs_rms': allowed: what VecNormalize.save writes")
    try:
        mean, var = (_array(rms.state[name]) for name in ("mean", "var"))
        deviation = np.sqrt(var + float(about["epsilon"]))
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise CheckpointError(f"'{path}': its obs_rms is damaged: {why(error)}") from None
    return normalize.of(path, mean, deviation)


def _array(noted: Any) -> np.ndarray:  # noqa: ANN401
    """An array of float64 as NumPy pickles one; an error of several kinds if it is none."""
    _, shape, dtype, by_columns, data = noted.state
    (kind, *_), order = dtype.given, dtype.state[1]
    if not noted.name.endswith("multiarray._reconstruct") or (kind, order) != ("f8", "<"):
        raise ValueError(f"{noted.name} of {kind!r}")
    if by_columns or not isinstance(data, bytes):
        raise ValueError("an array of another form")
    return np.frombuffer(data, "<f8").reshape(shape)
