"""The flags of a command, from its dataclass: names as tyro takes them, texts, defaults."""

import ast
import inspect
import textwrap
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import tyro

_POSITIONAL, _SUPPRESS = (
    mark[int].__metadata__[0] for mark in (tyro.conf.Positional, tyro.conf.Suppress)
)
_METAVARS = {int: "INT", float: "FLOAT", str: "STR", Path: "PATH"}


@dataclass(frozen=True)
class Flag:
    """What can be typed for one field: `--steps INT`, `--json`, or a positional, without names."""

    names: tuple[str, ...]
    metavar: str
    text: str
    default: Any  # tyro.MISSING: must be given
    settings: type  # the dataclass that has the field
    group: str = ""  # the path to that: "teacher.optimizer"


def flags_of(kind: Any, default: object = None, group: str = "") -> Iterator[Flag]:  # noqa: ANN401
    """The flags of a command, or of settings that it holds at `group`; `default` is one of them."""
    texts, hints = _texts(kind), get_type_hints(kind, include_extras=True)
    path = f"{group}." if group else ""
    for field in fields(kind):
        hint, notes = _unwrapped(hints[field.name])
        named = [note for note in notes if hasattr(note, "aliases")]
        name = next((n.name for n in named if n.name is not None), field.name).replace("_", "-")
        value = field.default if default is None else getattr(default, field.name)
        value = tyro.MISSING if value is MISSING else value
        if is_dataclass(hint):
            yield from flags_of(hint, None if value is tyro.MISSING else value, path + name)
        elif _SUPPRESS not in notes:
            metavar, names = _metavar(hint), [f"--{path}{name}"]
            if hint is bool:
                names.append(f"--{path}no-{name}")
            aliases = [alias for note in named for alias in note.aliases or ()]
            if _POSITIONAL in notes:
                names, more = [], " ..." if metavar.endswith(" ...") else ""
                metavar = next((n.metavar for n in named if n.metavar), name.upper()) + more
            names = (*aliases, *names)
            yield Flag(names, metavar, texts.get(field.name, ""), value, kind, group)


def flag_names(kind: type) -> list[str]:
    """Every flag of a command as it is typed, those of help among them."""
    return ["--help", "--help-all", *(name for flag in flags_of(kind) for name in flag.names)]


@cache
def _texts(kind: type) -> dict[str, str]:
    """What the string below each field says, its own or inherited, on one line."""
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(body, ast.ClassDef)
    found = {}
    for base in kind.__bases__:
        found |= _texts(base) if is_dataclass(base) else {}
    for field, below in pairwise(body.body):
        match field, below:
            case (
                ast.AnnAssign(target=ast.Name(name)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                found[name] = " ".join(text.split())
    return found


def _unwrapped(hint: Any) -> tuple[Any, tuple[Any, ...]]:  # noqa: ANN401
    """A type and what it is annotated with."""
    if get_origin(hint) is not Annotated:
        return hint, ()
    return hint.__origin__, hint.__metadata__


def _metavar(hint: Any) -> str:  # noqa: ANN401
    """What stands for a value of this type: PATH, {stop,rollback}, STR ..."""
    if hint is bool:
        return ""
    parts = get_args(hint)
    if get_origin(hint) is Literal:
        return "{" + ",".join(map(str, parts)) + "}"
    if get_origin(hint) is tuple:
        return f"{_metavar(parts[0])} ..."
    (plain,) = [part for part in parts if part is not NoneType] or [hint]
    return _METAVARS[plain]
