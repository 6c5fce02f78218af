"""The standard streams of a process: closed ones, closed pipes, and the JSON alone on output."""

import contextlib
import ctypes
import os
import sys
from collections.abc import Generator
from contextvars import ContextVar
from typing import TextIO

json_stream = ContextVar[TextIO | None]("json_stream", default=None)  # None: standard output


@contextlib.contextmanager
def json_alone() -> Generator[None]:
    """What is printed to `json_stream` goes to standard output, and nothing else does.

    What others print meanwhile, envs and libraries in Python or in C, goes to standard error.
    """
    sys.stdout.flush()
    ours, number = sys.stdout, os.dup(1)
    os.dup2(2, 1)
    # Standard output itself writes to number 1, which is standard error now.
    json_out = os.fdopen(number, "w", closefd=False) if ours is sys.__stdout__ else ours
    token = json_stream.set(json_out)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
        json_out.flush()
    finally:
        json_stream.reset(token)
        with contextlib.suppress(OSError, AttributeError):  # what C has not written yet
            ctypes.CDLL(None).fflush(None)
        os.dup2(number, 1)
        os.close(number)


def open_all() -> None:
    """Give a process that was started without some standard streams (`>&-`) ones to nowhere.

    A file of a run that got the number of standard output would hold what others print there.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r+"))


def closed_pipe() -> int:
    """End as other tools do when nobody reads on, without Python's words about it at its exit."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 141  # what a shell shows for SIGPIPE
