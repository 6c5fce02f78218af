"""The lines of metrics.jsonl: what a line of each kind says, and the reader of a whole file.

Whoever writes a line makes one of these structs; whoever reads one gets the same. A field that a
line lacks has its default, one that is not known here is ignored, and so is a line of a kind that
is not known here: earlier and later versions of rtpd can be read. A new metric is a new field.
"""

import io
from collections.abc import Iterator
from pathlib import Path

import msgspec
from msgspec import UNSET, UnsetType

from rtpd.errors import CheckpointError, RequestError
from rtpd.storage.files import contents, inside
from rtpd.storage.lines import Tolerance
from rtpd.storage.manifest import Count, Rollback

METRICS = "metrics.jsonl"


class AgentMetrics(msgspec.Struct, omit_defaults=True):
    """What a line of training says of one agent: means since the line before.

    Teachers have `loss` and `q` (mean greedy value), or where they have a policy alone `entropy`
    (of it, nats), students `loss` and how they follow, see
    `learning.distillation.agreement`; shares are from 0 to 1.
    """

    loss: float | None = None
    q: float | None = None
    entropy: float | None = None
    advantage_kept: float | None = None
    agreement: float | None = None
    constant_advantage_kept: float | None = None
    constant_agreement: float | None = None
    dead: float | None = None
    spread: float | None = None
    played: float | UnsetType | None = msgspec.field(default=UNSET, name="return")

    @property
    def mean_return(self) -> float | None:
        """Of its last episodes in training; None before the first, and if it drives no env."""
        return None if self.played is UNSET else self.played


class TrainRecord(msgspec.Struct, tag_field="kind", tag="train"):
    """A line of training. A run of one game has `teacher`, one of several `teachers` by name."""

    step: Count
    frames: Count | None = None  # of the emulators
    seconds: float = 0.0  # wall time of training, over all sessions of the run
    steps_per_second: float | None = None
    epsilon: float | None = None
    updates: Count | None = None
    episodes: Count | None = None
    consolidating: bool | UnsetType = UNSET  # true while the teacher rests
    teacher: AgentMetrics | UnsetType | None = UNSET
    teachers: dict[str, AgentMetrics] | UnsetType | None = UNSET
    students: dict[str, AgentMetrics] = {}

    @property
    def agents(self) -> dict[str, AgentMetrics]:
        """What is said of every agent, teachers first."""
        teacher = {"teacher": self.teacher} if self.teacher else {}
        return teacher | (self.teachers or {}) | self.students


class Score(msgspec.Struct, kw_only=True):
    """How an agent did in an evaluation: unclipped returns of whole episodes."""

    episodes: Count | None = None
    mean: float
    standard_error: float | None = None
    median: float | None = None
    human_normalised: float | None = None
    percent_of_teacher: float | None = None
    percent_interval: tuple[float, float] | None = None  # 95 %, over episodes
    returns: list[float] = []
    cut_off: Count = 0  # episodes that the longest allowed has ended


class EvalRecord(msgspec.Struct, kw_only=True, tag_field="kind", tag="eval"):
    """An evaluation of some agents as they were at `step`."""

    step: Count
    seconds: float = 0.0
    agents: dict[str, Score]


class RollbackRecord(Rollback, tag_field="kind", tag="rollback"):
    """A training that diverged has gone back to `step`, with lower learning rates."""


Record = TrainRecord | EvalRecord | RollbackRecord
KINDS = ("train", "eval", "rollback")


class _Kind(msgspec.Struct):
    kind: str


_RECORD, _KIND = msgspec.json.Decoder(Record), msgspec.json.Decoder(_Kind)


def parse_record(line: bytes) -> Record | None:
    """The record in a line, None if it is of a kind that is not known; else ValueError."""
    if not line.startswith(b"{"):  # not worth a parse and its error
        raise ValueError("it is no JSON object")
    try:
        return _RECORD.decode(line)
    except msgspec.ValidationError:
        if _KIND.decode(line).kind in KINDS:
            raise
        return None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def parse_records(
    lines: bytes, tolerance: Tolerance, *, strict: bool = False
) -> Iterator[tuple[int, Record]]:
    """The records in lines, each with the number of its line; others are passed over.

    CheckpointError if there are too many of those; if `strict`, at the first that is whole.
    """
    tolerance.check()
    for number, line in enumerate(io.BytesIO(lines), 1):
        try:
            record = parse_record(line)
        except ValueError as error:
            if strict and line.endswith(b"\n"):
                what = f"'{tolerance.source}' is damaged: line {number}: {error}"
                raise CheckpointError(what) from None
            tolerance.count(odd=True)
            continue
        tolerance.count()
        if record is not None:
            yield number, record


def read_records(file: Path, *, strict: bool = False) -> Iterator[tuple[int, Record]]:
    """The same of a whole file, whose last line may still be being written; none if there is none.

    CheckpointError also if the file cannot be read.
    """
    try:
        data = contents(inside(file.parent, file.name))
    except RequestError:
        return
    yield from parse_records(data, Tolerance(file), strict=strict)
