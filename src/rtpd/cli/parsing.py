"""From words on a command line to a command; what does not fit is told in one line."""

import contextlib
import difflib
import io
import re
from typing import cast

import tyro
from tyro.constructors import (
    ConstructorRegistry,
    PrimitiveConstructorSpec,
    PrimitiveTypeInfo,
)

from rtpd.cli.flags import flag_names
from rtpd.errors import RequestError

_registry = ConstructorRegistry()


@_registry.primitive_rule
def _whole(kind: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[int] | None:
    """Whole numbers may be written as 1e6, as in TOML files."""
    if kind.type is not int:
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="INT",
        instance_from_str=lambda words: _int(words[0]),
        is_instance=lambda value: isinstance(value, int) and not isinstance(value, bool),
        str_from_instance=lambda value: [str(value)],
    )


@_registry.primitive_rule
def _number(kind: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[float | None] | None:
    """Numbers, and numbers that may be left out, told of in words of ours."""
    if kind.type not in (float, float | None, int | None):
        return None
    whole = kind.type == (int | None)
    parsed = _int if whole else _float
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="INT" if whole else "FLOAT",
        instance_from_str=lambda words: parsed(words[0]),
        is_instance=lambda value: value is None or isinstance(value, int | float),
        str_from_instance=lambda value: [str(value)],
    )


def _float(text: str) -> float:
    """ValueError unless the text is a number."""
    with contextlib.suppress(ValueError):
        return float(text)
    raise ValueError(f"'{text}': allowed: a number")


def _int(text: str) -> int:
    """ValueError unless the text is a whole number."""
    with contextlib.suppress(ValueError):
        return int(text)
    with contextlib.suppress(ValueError):
        if (value := float(text)).is_integer():
            return int(value)
    raise ValueError(f"'{text}' is no whole number")


def parse[T](kind: type[T], args: list[str], name: str, default: T | None = None) -> T:
    """Tyro's parse, its boxed complaints made into one line."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            parsed = tyro.cli(
                kind, args=args, prog=f"rtpd {name}", default=default, registry=_registry
            )
        return cast(T, parsed)
    except SystemExit:
        raise RequestError(_one_line(said.getvalue(), name, flag_names(kind))) from None


# What settings are called elsewhere.
_SYNONYMS = {
    "lr": "learning-rate", "discount": "gamma", "batch": "batch-size", "n-envs": "num-envs",
    "timesteps": "steps", "total-timesteps": "steps", "total-steps": "steps", "temp": "temperature",
    "buffer-size": "capacity", "learning-starts": "warmup-steps", "resume-from": "resume",
}  # fmt: skip


def _like(flag: str, flags: list[str]) -> list[str]:
    """The one or two flags that were probably meant."""
    word = flag.lstrip("-").partition("=")[0].replace("_", "-")
    word = _SYNONYMS.get(word, word)
    same = [f for f in flags if f == f"--{word}"]
    longer = [f for f in flags if f.startswith(f"--{word}") and "." not in f]
    parts = [f for f in flags if f.rpartition(".")[2] == word]
    near = difflib.get_close_matches(f"--{word}", flags, n=1, cutoff=0.6)
    return (same or longer[:1] or parts[:2]) or near


def _one_line(box: str, name: str, flags: list[str]) -> str:
    """The first paragraph of a box of text, and the flag that was probably meant."""
    rows = [line.strip("│ ") for line in box.splitlines() if line.startswith("│")]
    # Without box-drawing characters: the title, a rule, and what the box holds.
    lines = [line.strip() for line in rows or box.splitlines()[2:]]
    end = next((i for i, line in enumerate(lines) if re.match("──|---", line)), len(lines))
    text = " ".join(lines[:end]).rstrip(".")
    _, unknown_ones, given = text.partition("Unrecognized options: ")
    if unknown_ones:
        flag = given.partition(",")[0].strip()
        like = _like(flag, flags)
        text = f"unknown option {flag}" + (f": did you mean {' or '.join(like)}?" if like else "")
    elif "Perhaps you meant:" in lines:
        flag = lines[lines.index("Perhaps you meant:") + 1].split()[0].rstrip(",")
        text += f": did you mean {flag}?"
    return f"{text or ' '.join(box.split())} (rtpd {name} --help-all lists what is allowed)"
