"""manifest.json: what was asked, where and when it ran, how it ended.

One struct for whoever writes it and whoever reads it: an entry that a manifest lacks has its
default, one that is not known here is ignored. `Run.manifest` is the same as plain JSON, which
keeps what is not known.
"""

from pathlib import Path
from typing import Annotated, Any

import msgspec

from rtpd.errors import CheckpointError

Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]  # what JavaScript counts exactly


FUNCTION, ONNX = "function", "onnx"  # the nets of teachers outside of JAX
SIZE_UNKNOWN = (FUNCTION, ONNX)  # they may have 0 parameters: a file may hold them otherwise


class AgentInfo(msgspec.Struct, omit_defaults=True):
    """What an agent is, from the start of its run on."""

    net: str = ""
    parameters: Count = 0  # those that it needs for one game; 0: not known
    share: float | None = None  # of its teacher's
    multiply_adds: Count | None = None  # a step
    loss: str | None = None  # of a student
    int8: bool = False
    settings: list[str] = []  # of its own, as texts
    short: str | None = None  # what tables call it, where that is shorter


class Resumption(msgspec.Struct):
    """A session that went on from a checkpoint: from which step, when, and up to which."""

    step: Count = 0
    at: str | None = None
    steps: Count | None = None


class Rollback(msgspec.Struct):
    """A training that diverged has gone back to a checkpoint, with lower learning rates."""

    why: str = ""
    teacher_learning_rate: float | None = None
    student_learning_rate: float | None = None
    step: Count = 0
    at: str | None = None
    steps: Count | None = None


_Steps = Annotated[float, msgspec.Meta(ge=0, le=2**53)]  # as a person may write them: 1e6


class RunSettings(msgspec.Struct):
    """The few settings on which readers rely; which others there are depends on the version."""

    env: str = ""  # of several games a+b
    steps: Count | _Steps | None = None
    minutes: float | None = None
    checkpoint_steps: Count = 0


class Manifest(msgspec.Struct, omit_defaults=True, kw_only=True):
    """The entries, in the order in which they are written; those after `config` come later."""

    status: str = "unknown"
    id: str | None = None
    preset: str | None = ""  # null: of no preset
    seed: int | None = None
    command: list[str] = []
    commit: str | None = ""  # null: not known
    device: str | None = None
    machine: str | None = None
    cpu_features: list[str] | None = None
    python: str | None = None
    versions: dict[str, str | None] = {}
    started: str | None = None
    frames_per_step: Count | None = None
    agents: dict[str, AgentInfo] = {}  # the teacher of each game before its students
    distilled_from: str | None = None
    config: dict[str, Any]
    frozen: dict[str, str] = {}  # digests of the weights of teachers that are distilled
    resumed: list[Resumption] = []
    rollbacks: list[Rollback] = []
    random_scores: dict[str, float] = {}  # mean returns of random play that were measured, by env
    step: Count | None = None  # of the last checkpoint
    saved: str | None = None
    ended: str | None = None
    failure: str | None = None  # what has ended it, in one line, if its status is "failed"
    seconds: float | None = None  # of training
    peak_bytes: Count | None = None

    @property
    def settings(self) -> RunSettings:
        """What readers rely on of `config`."""
        return msgspec.convert(self.config, RunSettings)


def taught_by(distilled_from: str | None) -> dict[str, str]:
    """What results say of a teacher that was given: the file, the run or the function it is."""
    return {} if distilled_from is None else {"distilled_from": distilled_from}


def parse_manifest(data: object, source: Path) -> Manifest:
    """The typed entries of a manifest; CheckpointError names the first that is of no use."""
    try:
        found = msgspec.convert(data, Manifest)
        msgspec.convert(found.config, RunSettings)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"'{source}' is damaged: {error}") from None
    return found
