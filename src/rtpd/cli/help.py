"""What `rtpd COMMAND --help` prints: a screen of what matters; `--help-all` prints everything."""

import inspect
import re
import shutil
import textwrap
from dataclasses import replace

import tyro

from rtpd.cli.commands import Entry
from rtpd.cli.flags import Flag, flags_of

MOST_COLUMNS = 120
_SENTENCE = re.compile(r"(?<!\bal)\.\s")  # not that of "et al."


def columns() -> int:
    """How wide a help is here."""
    return min(shutil.get_terminal_size().columns, MOST_COLUMNS)


def help_of(name: str, entry: Entry, default: object, *, everything: bool, width: int) -> str:
    """The help of a command in lines of at most `width`, if no word of it is longer.

    `default`: a command whose values are told as defaults; None: those of its class.
    """
    flags, brief = list(flags_of(entry.kind, default)), entry.kind.brief
    about = inspect.cleandoc(entry.kind.__doc__ or "").split("\n\n")
    typed = " ".join([name, *(_label(flag) for flag in flags if not flag.names), "[OPTIONS]"])
    parts, end = [f"usage: rtpd {typed}"], [entry.examples]
    if brief and not everything:
        parts += [_wrapped(about[0], width), _options(_brief(flags, brief), width)]
        end.append(f"rtpd {name} --help-all explains all {len(flags)} settings")
    else:
        parts += [_wrapped(paragraph, width) for paragraph in about]
        for group in dict.fromkeys(flag.group for flag in flags):  # as they come
            members = [flag for flag in flags if flag.group == group]
            settings = inspect.cleandoc(members[0].settings.__doc__ or "")
            title = [_wrapped(f"[{group}] {settings}", width)] if group else []  # as in TOML
            parts.append("\n".join([*title, _options(members, width)]))
    return "\n\n".join([*parts, *end])


def _brief(flags: list[Flag], names: tuple[str, ...]) -> list[Flag]:
    """What is typed without a flag, and those named; of each the first name and sentence."""
    by_name = {name: flag for flag in flags for name in flag.names}
    shown = [*(flag for flag in flags if not flag.names), *(by_name[name] for name in names)]
    return [
        replace(flag, names=flag.names[:1], text=_SENTENCE.split(flag.text)[0]) for flag in shown
    ]


def _options(flags: list[Flag], width: int) -> str:
    """A list of flags, each with its text beside it, or below where there is no room."""
    heads = [f"  {_label(flag)}  " for flag in flags]
    column = min(max(map(len, heads)), width // 3)
    lines = []
    for head, flag in zip(heads, flags, strict=True):
        text = textwrap.indent(_wrapped(_text(flag), width - column), " " * column)
        beside = len(head) <= column
        lines.append(head.ljust(column) + text[column:] if beside else f"{head.rstrip()}\n{text}")
    return "\n".join(lines)


def _label(flag: Flag) -> str:
    """How a flag is typed."""
    if not flag.names:
        return flag.metavar if flag.default is tyro.MISSING else f"[{flag.metavar}]"
    names = flag.names[:1] if flag.default is False else flag.names  # --no-x would change nothing
    return ", ".join(f"{name} {flag.metavar}".rstrip() for name in names)


def _text(flag: Flag) -> str:
    """What a flag does, and its default where the text does not tell it."""
    text, default = flag.text.removesuffix("."), flag.default
    unset = any(default is nothing for nothing in (None, False, tyro.MISSING))
    if unset or default in ((), "") or "default" in text:
        return text
    if isinstance(default, tuple):
        default = " ".join(map(str, default))
    return f"{text} (default: {'on' if default is True else str(default).removesuffix('.0')})"


def _wrapped(text: str, width: int) -> str:
    words = " ".join(text.split())
    return textwrap.fill(words, width, break_long_words=False, break_on_hyphens=False)
