"""This machine: runs as child processes, each on cores of its own."""

import os
import subprocess

from rtpd.suite.attempt import launch
from rtpd.suite.plan import Job


class Child:
    """A try of a run in a child process."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        """As it was launched."""
        self._process = process

    def begun(self) -> bool:
        """From the first."""
        return True

    def code(self) -> int | None:
        """None while it goes on, then its exit code; below 0 for a signal."""
        code = self._process.poll()
        if code is not None:
            self._process.communicate()  # closes the pipe that it has watched
        return code

    def stop(self) -> None:
        """Ask it to save and end."""
        self._process.terminate()

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.communicate()


class Local:
    """At most `jobs` runs at once, each on `cores` cores; they share them where there are too few.

    On a GPU each may take its share of the memory that JAX would take for one.
    """

    def __init__(self, jobs: int, cores: int) -> None:
        """Deal the cores out."""
        have = available_cores()
        slots = [range(job * cores, (job + 1) * cores) for job in range(jobs)]
        self._cores = [",".join(str(have[i % len(have)]) for i in slot) for slot in slots]
        self._children: list[Child | None] = [None] * jobs
        self._memory = {"XLA_PYTHON_CLIENT_MEM_FRACTION": f"{0.75 / jobs:.3f}"}

    def _free(self) -> list[int]:
        children = enumerate(self._children)
        return [slot for slot, child in children if child is None or child.code() is not None]

    def room(self) -> bool:
        """Whether fewer than `jobs` are running."""
        return bool(self._free())

    def start(self, job: Job) -> Child:
        """Start a run or go on with it; RunError if its folder does not allow it."""
        slot = self._free()[0]
        child = Child(launch(job, self._cores[slot], self._memory))
        self._children[slot] = child
        return child

    def close(self) -> None:
        """Kill what still runs."""
        for child in filter(None, self._children):
            child.kill()


def available_cores() -> list[int]:
    """Numbers of the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))
