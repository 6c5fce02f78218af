"""Who plays at the moment: a step whenever a page asks for one, and not otherwise."""

import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rtpd.errors import CheckpointError, RequestError
from rtpd.storage.run_folder import Run
from rtpd.watch.show import Show

MOST_AGENTS = 3
MOST_SHOWS = 2  # another choice of agents ends the show asked for least recently
LEAST_SECONDS = 1 / 20  # from step to step, however many pages ask
PATIENCE_SECONDS = 30.0  # after which a show that nobody asks for is ended
LOOK_SECONDS = 2.0  # from look to look for newer agents

Marks = tuple[tuple[int, int], ...]  # of the agents' files: when they were written, their sizes


@dataclass
class _Kept:
    show: Show
    marks: Marks
    looked: float
    due: float = 0.0
    asked: float = field(default_factory=time.monotonic)


class ShowPool:
    """The shows of a run folder; its methods may be called from any thread."""

    def __init__(self, run: Path) -> None:
        """Nothing is loaded before somebody asks."""
        self.run = run
        self._lock = threading.Lock()
        self._kept: dict[tuple[str, ...], _Kept] = {}
        self._closed = False

    def next(self, names: tuple[str, ...], seen: int) -> dict[str, Any]:
        """What `Show.answer` is after the step with the number `seen`, once that is due.

        Pages that show the same agents share a show: one that lags behind gets its newest step.
        Agents that are saved anew take over with a show from the start, whose number is 1.
        RtpdError for agents that cannot play at this moment.
        """
        if not 1 <= len(set(names)) == len(names) <= MOST_AGENTS:
            raise RequestError(f"{len(names)} agents: allowed: 1 to {MOST_AGENTS}, each once")
        with self._lock:
            if self._closed:
                raise RequestError("rtpd watch has ended")
            kept = self._now(names)
            kept.asked = time.monotonic()
            if kept.show.number in (0, seen):
                time.sleep(max(kept.due - kept.asked, 0))
                try:
                    kept.show.step()
                except BaseException:
                    self._end(names)
                    raise
                kept.due = time.monotonic() + LEAST_SECONDS
            return kept.show.answer

    def tidy(self) -> None:
        """End what nobody asks for any more; not while a step is being played."""
        if self._lock.acquire(blocking=False):
            try:
                late = time.monotonic() - PATIENCE_SECONDS
                for names in [n for n, kept in self._kept.items() if kept.asked < late]:
                    self._end(names)
            finally:
                self._lock.release()

    def close(self) -> None:
        """End every show, and begin none any more."""
        with self._lock:
            self._closed = True
            for names in list(self._kept):
                self._end(names)

    def _now(self, names: tuple[str, ...]) -> _Kept:
        """The show of these agents, with those that are on disk now."""
        kept, now = self._kept.get(names), time.monotonic()
        if kept and now < kept.looked + LOOK_SECONDS:
            return kept
        marks = _marks(self.run, names)
        if kept and kept.marks == marks:
            kept.looked = now
            return kept
        try:
            show = Show(self.run, names)
        except CheckpointError:  # perhaps weights are new and their description is not yet
            if kept is None:
                raise
            kept.looked = now
            return kept
        self._end(names)
        while len(self._kept) >= MOST_SHOWS:
            self._end(min(self._kept, key=lambda n: self._kept[n].asked))
        self._kept[names] = _Kept(show, marks, now)
        return self._kept[names]

    def _end(self, names: tuple[str, ...]) -> None:
        kept = self._kept.pop(names, None)
        if kept:
            kept.show.close()


def _marks(run: Path, names: tuple[str, ...]) -> Marks:
    """Tells whether agents have been saved again; RunError for those that are not there."""
    folder = Run.open(run)
    folder.check_agents(names)
    found = []
    for path in map(folder.agent_path, names):
        for file in (path, path.with_suffix(".json")):
            about = file.stat() if file.exists() else None
            found.append((about.st_mtime_ns, about.st_size) if about else (0, 0))
    return tuple(found)
