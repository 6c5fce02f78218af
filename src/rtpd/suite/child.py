"""The process of one run: `python -P -m rtpd.suite.child CORES train ...`.

Like `rtpd train ...`, but on the cores "0,1" (empty: all), and killed as soon as standard input
ends, which is when the process that holds its other end is gone. Without -P, Python would look for
modules in the current folder first, which may be that of a stranger's suite file.
"""

import os
import runpy
import signal
import sys
import threading


def main() -> None:
    """Read the cores, watch standard input, then be `rtpd`."""
    cores, *sys.argv[1:] = sys.argv[1:]
    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {int(core) for core in cores.split(",")})
    threading.Thread(target=_die_with_the_starter, daemon=True).start()
    runpy.run_module("rtpd", run_name="__main__", alter_sys=True)


def _die_with_the_starter() -> None:
    os.read(sys.stdin.fileno(), 1)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
