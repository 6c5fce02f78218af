"""metrics.jsonl while it grows: the curves of every agent, each line read once."""

import io
import os
import stat
from collections import defaultdict
from pathlib import Path
from typing import Annotated

import msgspec

from rtpd.errors import CheckpointError
from rtpd.storage.files import MOST_BYTES, MOST_LINES, MOST_ODD_LINES

MARK_BYTES = 512  # before the place to read on from: a line or more, so two runs differ in them
MOST_POINTS = 1_000  # of a curve, more than a screen has room for

Step = Annotated[int, msgspec.Meta(ge=0, le=2**53)]  # what JavaScript counts exactly
Point = tuple[int, float]


class Progress(msgspec.Struct):
    """What a line of training says of one agent."""

    played: float | None = msgspec.field(default=None, name="return")
    advantage_kept: float | None = None
    constant_advantage_kept: float | None = None
    spread: float | None = None


class Train(msgspec.Struct, tag_field="kind", tag="train"):
    """A line of training; several games have `teachers`, one has `teacher`."""

    step: Step
    seconds: float = 0.0
    steps_per_second: float | None = None
    epsilon: float | None = None
    teacher: Progress | None = None
    teachers: dict[str, Progress] = {}
    students: dict[str, Progress] = {}

    @property
    def agents(self) -> dict[str, Progress]:
        """All of them."""
        teacher = {"teacher": self.teacher} if self.teacher else {}
        return teacher | self.teachers | self.students


class Score(msgspec.Struct):
    """How an agent did in an evaluation."""

    mean: float
    standard_error: float | None = None
    percent_of_teacher: float | None = None
    percent_interval: tuple[float, float] | None = None
    episodes: int | None = None


class Evaluation(msgspec.Struct, tag_field="kind", tag="eval"):
    """An evaluation of some agents."""

    step: Step
    agents: dict[str, Score]


_LINES = msgspec.json.Decoder(Train | Evaluation)


class Metrics:
    """What the lines so far say; `read` takes in those that are new.

    A run that is resumed has its last lines cut off, and one that is started anew has none of the
    old: whenever the bytes before the place to read on from are others than they were, all is
    forgotten and read again.
    """

    def __init__(self, file: Path) -> None:
        """Nothing is read yet."""
        self.file = file
        self._forget()

    def _forget(self) -> None:
        self.last: Train | None = None
        self.rows: dict[str, Progress] = {}  # the latest of every agent
        self.scores: dict[str, Score] = {}  # the latest of every agent
        # By what is told and by agent: "return" and "advantage" kept in training, "constant" what
        # the best constant policy keeps of it, "score" the mean return of an evaluation.
        self.curves: dict[str, dict[str, list[Point]]] = defaultdict(lambda: defaultdict(list))
        self.errors: dict[str, list[float | None]] = defaultdict(list)  # of the scores
        self.version = (0, 0)
        self.written: float | None = None  # when, in seconds since 1970
        self._mark = b""
        self._odd, self._lines = 0, 0

    def read(self) -> bool:
        """Take in every whole line that is new; whether there is anything else to see now.

        CheckpointError if too many of its lines are no records, as long as it is that file.
        """
        before = self.version
        try:
            handle = os.open(self.file, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:  # not written yet, or removed
            self._forget()
            return self.version != before
        try:
            about = os.fstat(handle)
            if stat.S_ISREG(about.st_mode):
                self._read(handle, about)
        finally:
            os.close(handle)
        return self.version != before

    def _read(self, handle: int, about: os.stat_result) -> None:
        start = self.version[1]
        if os.pread(handle, len(self._mark), start - len(self._mark)) != self._mark:
            self._forget()
            start = 0
        self._check()
        data = os.pread(handle, max(min(about.st_size, MOST_BYTES) - start, 0), start)
        whole = data[: data.rfind(b"\n") + 1]  # the last line may still be being written
        for line in io.BytesIO(whole):
            self._add(line)
            self._check()
        end = start + len(whole)
        self._mark = os.pread(handle, min(end, MARK_BYTES), max(end - MARK_BYTES, 0))
        self.written = about.st_mtime
        self.version = (about.st_ino, end)

    def _check(self) -> None:
        if self._odd > MOST_ODD_LINES or self._lines > MOST_LINES:
            raise CheckpointError(f"{self.file} is damaged: too many of its lines are no records")

    def _add(self, line: bytes) -> None:
        """Book a line; one that cannot be read is passed over, as everywhere."""
        self._lines += 1
        try:
            row = _LINES.decode(line)
        except (ValueError, RecursionError):
            self._odd += 1
            return
        if isinstance(row, Evaluation):
            self.scores |= row.agents
            for name, score in row.agents.items():
                self.curves["score"][name].append((row.step, score.mean))
                self.errors[name].append(score.standard_error)
            return
        self.last = row
        self.rows |= row.agents
        for name, agent in row.agents.items():
            told = (agent.played, agent.advantage_kept, agent.constant_advantage_kept)
            for what, value in zip(("return", "advantage", "constant"), told, strict=True):
                if value is not None:
                    self.curves[what][name].append((row.step, value))


def thinned[T](points: list[T], most: int = MOST_POINTS) -> list[T]:
    """At most so many, evenly picked, the first and the last among them."""
    if len(points) <= most:
        return points
    return [points[round(i * (len(points) - 1) / (most - 1))] for i in range(most)]
