"""The statistics in a pickle of Stable-Baselines3's VecNormalize, without unpickling it.

Python's unpickler calls whatever a pickle names. Here `pickletools` takes it apart, and what it
would call is only noted, as a name with what it is given; of that tree two arrays and a number are
looked up.
"""

import pickletools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rtpd.agents.formats import normalize
from rtpd.agents.formats.normalize import Normalize
from rtpd.errors import CheckpointError, RequestError
from rtpd.storage.archive import why
from rtpd.storage.files import contents

MOST_BYTES = 2**22  # the numbers of the largest vectors, several times
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_VALUES = frozenset(
    "BININT BININT1 BININT2 LONG1 BINFLOAT BINUNICODE SHORT_BINUNICODE BINBYTES "
    "SHORT_BINBYTES".split()
)


@dataclass
class Noted:
    """What a pickle asks to be called: the name, what it is given, and the state it then gets."""

    name: str
    given: object = ()
    state: object = None


def read(path: Path) -> Normalize:
    """Mean and deviation of the observations.

    Raises:
        RequestError: if there is no such file, or it is of something else, or of dicts.
        CheckpointError: if it is damaged.
    """
    data = contents(path, MOST_BYTES)
    try:
        found = _follow(data)
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise CheckpointError(f"'{path}' is no pickle that can be read: {why(error)}") from None
    about: Any = found.state if isinstance(found, Noted) else None
    rms = about.get("obs_rms") if isinstance(about, dict) else None
    if isinstance(rms, dict):
        raise RequestError(f"'{path}' normalises observations that are dicts: they are not read")
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


def _follow(data: bytes) -> object:
    """What a pickle makes, with `Noted` in the place of every call.

    LookupError, TypeError, ValueError, AttributeError or OverflowError if it makes no sense.
    """
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[int, Any] = {}

    def taken(start: int) -> list[Any]:
        items = stack[start:]
        del stack[start:]
        return items

    for opcode, arg, _ in pickletools.genops(data):
        match opcode.name:
            case "PROTO" | "FRAME":
                pass
            case name if name in _VALUES:
                stack.append(arg)
            case name if name in _CONSTANTS:
                stack.append(_CONSTANTS[name])
            case "EMPTY_DICT":
                stack.append({})
            case "EMPTY_LIST":
                stack.append([])
            case "MARK":
                marks.append(len(stack))
            case "TUPLE":
                stack.append(tuple(taken(marks.pop())))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                stack.append(tuple(taken(-int(opcode.name[-1]))))
            case "APPEND" | "APPENDS":
                items = taken(-1 if opcode.name == "APPEND" else marks.pop())
                stack[-1].extend(items)
            case "SETITEM" | "SETITEMS":
                items = taken(-2 if opcode.name == "SETITEM" else marks.pop())
                stack[-1].update(zip(items[::2], items[1::2], strict=True))
            case "MEMOIZE" | "BINPUT" | "LONG_BINPUT":
                memo[len(memo) if opcode.name == "MEMOIZE" else int(str(arg))] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(memo[int(str(arg))])
            case "GLOBAL":
                stack.append(Noted(str(arg).replace(" ", ".", 1)))
            case "STACK_GLOBAL":
                stack.append(Noted(".".join(taken(-2))))
            case "REDUCE" | "NEWOBJ":
                called, given = taken(-2)
                stack.append(Noted(called.name, given))
            case "BUILD":
                state = stack.pop()
                stack[-1].state = state
            case "STOP":
                return stack.pop()
            case other:
                raise ValueError(f"pickle instruction {other}")
    raise ValueError("it has no end")
