"""The errors that a caller of rtpd can catch.

RtpdError                 anything rtpd itself reports; the command line exits with 1
 +-- RequestError         the request cannot be met as written; exits with 2
 |    +-- ConfigError     a setting, flag or TOML key
 |    +-- EnvError        an environment: unknown game, unsupported spaces
 |    `-- RunError        a run folder: not one, finished, or without the agent asked for
 +-- CheckpointError      a checkpoint or agent file that is damaged or incomplete; exits with 1
 `-- DivergedError        a training whose losses or weights are no longer numbers; exits with 1

Every message is one line: the offending value, what is allowed, the nearest match. All of them can
be imported from `rtpd`. What else can end a command (disk full, out of memory, a bug) is told in
one line too, with exit code 1; an interruption exits with 130, a closed pipe (`| head`) with 141
and not a word, as with other tools.
"""

import difflib
import shlex
from collections.abc import Iterable
from pathlib import Path

MOST_CHARACTERS = 2_000  # of a message
MOST_NAMES = 2_000  # that are compared with one that is unknown


class RtpdError(Exception):
    """Base of everything rtpd reports; `exit_code` is what the command line exits with.

    Messages quote what strangers have written, so each is made one printable line of at most
    `MOST_CHARACTERS` here, for whoever shows or logs it.
    """

    exit_code = 1

    def __init__(self, message: object = "") -> None:
        text = clean(shortened(str(message), MOST_CHARACTERS))
        super().__init__(shortened(text, MOST_CHARACTERS))


class RequestError(RtpdError):
    """The request cannot be met as written; nothing was started or written."""

    exit_code = 2


class ConfigError(RequestError):
    """A setting, flag or TOML key is unknown, of the wrong type or out of range."""


class EnvError(RequestError):
    """An environment is unknown or has spaces that rtpd does not support."""


class RunError(RequestError):
    """A folder is not a run, is finished, or lacks what was asked of it."""


class CheckpointError(RtpdError):
    """A checkpoint or agent file is damaged, incomplete or does not fit."""


class DivergedError(RtpdError):
    """A training has losses or weights that are not finite, or a loss beyond all reason."""


def clean(text: object) -> str:
    """The text with every control character spelt out, so that it stays on its line."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))


def told(value: object) -> str:
    """A value as text; of a number too long to be written out, its length."""
    try:
        return str(value)
    except ValueError:
        return f"(a number of {value.bit_length():,} bits)" if isinstance(value, int) else "(?)"


def unknown(kind: str, value: object, allowed: Iterable[str], *, most: int = 12) -> str:
    """One line for a name that is not in a table: the value, the nearest match, what is allowed."""
    names, text = list(allowed), shortened(told(value), 200)
    near = difflib.get_close_matches(text, names[:MOST_NAMES], n=1, cutoff=0.5)
    hint = f"did you mean '{near[0]}'? " if near else ""
    shown = ", ".join(names[:most]) + (f", ... ({len(names)} in all)" if len(names) > most else "")
    return f"unknown {kind} '{text}': {hint}allowed: {shown}"


def typed(*words: object) -> str:
    """A command as it can be pasted into a shell: words are quoted where that is needed."""
    safe = [f"./{w}" if isinstance(w, Path) and str(w).startswith("-") else str(w) for w in words]
    return shlex.join(safe)


def shortened(text: str, most: int) -> str:
    """The text, its middle left out if it has more than `most` characters."""
    if len(text) <= most:
        return text
    half = (most - len(" ... ")) // 2
    return f"{text[:half]} ... {text[-half:]}"


def one_line(error: BaseException) -> str:
    """What an error says, on one printable line; its type if it says nothing."""
    return clean(shortened(str(error).strip(), MOST_CHARACTERS)) or type(error).__name__


def error_line(error: BaseException) -> str:
    """The one line by which the command line reports an error."""
    return f"rtpd: error: {one_line(error)}"
