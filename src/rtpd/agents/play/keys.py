"""Keys that a person presses while a game is shown in the terminal."""

import os
import select
import sys
import termios
import tty


class Keys:
    """Reads single keys of standard input, without Enter and without echo, if it is a terminal."""

    def __init__(self) -> None:
        """Until `close`, keys are not shown where they are typed."""
        self._file, self._before = -1, None
        if sys.stdin is not None and not sys.stdin.closed and sys.stdin.isatty():
            self._file = sys.stdin.fileno()
            self._before = termios.tcgetattr(self._file)
            tty.setcbreak(self._file)

    def pressed(self) -> str:
        """What was typed since the last call; waits for nothing."""
        if self._before is None or not select.select([self._file], [], [], 0)[0]:
            return ""
        return os.read(self._file, 1024).decode(errors="ignore")

    def close(self) -> None:
        """Give the terminal its line editing back; calling it twice is harmless."""
        if self._before is not None:
            termios.tcsetattr(self._file, termios.TCSADRAIN, self._before)
            self._before = None
