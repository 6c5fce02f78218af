"""Starts what is to be run as room allows, and sees every run to its end."""

import signal
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from rtpd.errors import RtpdError, RunError
from rtpd.suite.attempt import REFUSED, STOPPED, find, last_line
from rtpd.suite.board import Lines
from rtpd.suite.plan import Job
from rtpd.suite.rows import OVER, TrackedRun
from rtpd.system.interrupt import interruptible

TICK_SECONDS = 0.5


class Attempt(Protocol):
    """One try of a run."""

    def begun(self) -> bool:
        """Whether its process has started."""
        ...

    def code(self) -> int | None:
        """None while it goes on, then its exit code, below 0 for a signal; RtpdError: refused."""
        ...

    def stop(self) -> None:
        """Ask it to save and end with STOPPED."""
        ...


class Workers(Protocol):
    """Where runs are run: `local.Local`, `cluster.Cluster`."""

    def room(self) -> bool:
        """Whether another run can be started now."""
        ...

    def start(self, job: Job) -> Attempt:
        """Start a run or go on with it; RunError if its folder does not allow it."""
        ...

    def close(self) -> None:
        """Kill what still runs."""
        ...


class Conductor:
    """Runs the waiting rows, seed by seed, and changes their states as they go."""

    def __init__(
        self, rows: Sequence[TrackedRun], workers: Workers, board: Lines, *, retries: int
    ) -> None:
        """`retries`: how often a run that was killed or failed is gone on with."""
        self.interrupted = False
        self._rows, self._workers, self._board, self._retries = rows, workers, board, retries
        waiting = (row for row in rows if row.state == "waiting")
        self._waiting = deque(sorted(waiting, key=lambda row: row.job.config.seed))
        self._going: dict[TrackedRun, Attempt] = {}
        self._by_folder: dict[Path | None, TrackedRun] = {row.job.folder: row for row in rows}

    def go(self) -> None:
        """Until all are over, or until interrupted and what was running has been saved."""
        stopping = False
        with interruptible(self._interrupt):
            while self._going or (self._waiting and not self.interrupted):
                if not self.interrupted:
                    self._start()
                elif not stopping:
                    stopping = True
                    for attempt in self._going.values():
                        attempt.stop()
                self._look()
                self._board.update(self._rows)
                time.sleep(TICK_SECONDS)

    def _interrupt(self) -> None:
        self.interrupted = True

    def _start(self) -> None:
        """Fill the room there is."""
        while self._workers.room():
            row = next(filter(self._ready, self._waiting), None)
            if row is None:
                return
            self._waiting.remove(row)
            try:
                self._check_teacher(row)
                row.begin(find(row.job))
                self._going[row] = self._workers.start(row.job)
            except (RtpdError, OSError) as error:
                row.state, row.note = "failed", str(error)

    def _ready(self, row: TrackedRun) -> bool:
        """Whether nothing is to be awaited any more: the run whose teacher it distils is over."""
        source = self._by_folder.get(row.job.teacher)
        return source is None or source.state in OVER

    def _check_teacher(self, row: TrackedRun) -> None:
        """RunError if there is no teacher to distil, since its run came to nothing."""
        source = self._by_folder.get(row.job.teacher)
        if source and source.state != "finished":
            raise RunError(f"{source.job.label}, whose teacher it distils, has not finished")

    def _look(self) -> None:
        """See what is new of the runs that go on, and which have ended."""
        for row, attempt in list(self._going.items()):
            try:
                code = attempt.code()
                if attempt.begun():
                    row.state = "running"
                    row.refresh()
                if code is not None:
                    del self._going[row]
                    self._end(row, code)
            except (RtpdError, OSError) as error:
                self._going.pop(row, None)
                row.state, row.note = "failed", str(error)

    def _end(self, row: TrackedRun, code: int) -> None:
        """Finished, to be tried again, or over without having finished."""
        # A process that still starts is killed by what asks the others to save.
        stopped = code == STOPPED or (self.interrupted and code == -signal.SIGTERM)
        row.note = "" if code == 0 or stopped else _why(row.job, code)
        if code == 0:
            row.state = "finished"
        elif stopped:
            row.state = "interrupted"
        elif code == REFUSED or self.interrupted or row.failures >= self._retries:
            row.state = "failed"
        else:
            row.failures, row.state = row.failures + 1, "waiting"
            self._waiting.appendleft(row)


def _why(job: Job, code: int) -> str:
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return last_line(job).removeprefix("rtpd: error: ") or f"exit code {code}"
