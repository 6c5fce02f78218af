"""Signals as a request to stop, not as an exception anywhere; and code that may not heed it.

Ctrl-C, SIGTERM, SIGHUP (the terminal was closed), SIGUSR1 and SIGUSR2 (Slurm's warning that the
time is almost up) are the same request.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
PATIENCE_SECONDS = 3.0  # for code of others, such as an env, once a stop was asked for
_SAME_REQUEST_SECONDS = 1.0  # a closed terminal sends several signals


class StuckError(KeyboardInterrupt):
    """A stop was asked for, and code of others has not returned in time."""


class Interruption:
    """Whether a stop was asked for; from `PATIENCE_SECONDS` later, `others` do not last."""

    def __init__(self) -> None:
        """Nothing was asked for yet."""
        self.asked = False
        self._among_others = False

    @contextmanager
    def listening(self, notify: Callable[[], None]) -> Generator[None]:
        """Take signals as a request to stop, and call `notify` at the first one."""

        def ask() -> None:
            self.asked = True
            notify()

        with interruptible(ask, self._lose_patience):
            yield

    @contextmanager
    def others(self) -> Generator[None]:
        """Run code that may never return, such as an env's step; it may end with a StuckError."""
        self._among_others = True
        try:
            yield
        finally:
            self._among_others = False

    def _lose_patience(self) -> None:
        if self._among_others:
            raise StuckError


@contextmanager
def interruptible(
    notify: Callable[[], None], late: Callable[[], None] = lambda: None
) -> Generator[None]:
    """Call `notify` on the first of `SIGNALS`; a later Ctrl-C or SIGTERM acts as it did before.

    `late` is called every second from `PATIENCE_SECONDS` after the first one; it may raise.
    Outside the main thread, where Python delivers no signals, this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (*heeded(), signal.SIGALRM)}
    terminals = [stream for stream in (1, 2) if os.isatty(stream)]
    first = 0.0

    def restore() -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal first
        del frame
        if number == signal.SIGHUP:
            _leave(terminals)
        if not first:
            first = time.monotonic()
            signal.setitimer(signal.ITIMER_REAL, PATIENCE_SECONDS, 1.0)
            with suppress(RuntimeError):  # the signal came in the middle of a line of output
                notify()
        elif number in (signal.SIGINT, signal.SIGTERM):
            if time.monotonic() - first > _SAME_REQUEST_SECONDS:
                restore()
                signal.raise_signal(number)

    for number in before:
        signal.signal(number, handle)
    signal.signal(signal.SIGALRM, lambda number, frame: late())
    try:
        yield
    finally:
        restore()


def heeded() -> tuple[signal.Signals, ...]:
    """`SIGNALS` without what was told to be ignored: after `nohup`, the terminal may be closed."""
    always = (signal.SIGINT, signal.SIGTERM)
    return tuple(n for n in SIGNALS if n in always or signal.getsignal(n) is not signal.SIG_IGN)


def _leave(terminals: list[int]) -> None:
    """Write no more to a terminal that is closed: that would be an error."""
    with open(os.devnull, "wb") as nowhere:
        for stream in terminals:
            os.dup2(nowhere.fileno(), stream)
