"""What a checkpoint of a run holds beside its arrays, and how runs save and take them up."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import msgspec

from rtpd.config.settings import Config
from rtpd.errors import CheckpointError
from rtpd.storage import checkpoint
from rtpd.storage.run_folder import Run
from rtpd.training import identity

KEEP_CHECKPOINTS = 2
Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


@dataclass
class Progress:
    """What the host counts; saved with every checkpoint."""

    learn_from: Count  # step of the first update since the replay was last empty
    step: Count = 0
    updates: Count = 0
    updates_before: Count = 0  # updates made before `learn_from`
    warmed_up: bool = False  # the centre and scale are known
    consolidating: bool = False  # the teacher rests, the students go on
    seconds: float = 0.0
    episodes: Count = 0
    lines: Count | None = None  # of metrics.jsonl up to here
    best: dict[str, float] = field(default_factory=dict)  # teachers' best mean return so far
    recent_returns: dict[str, list[float]] = field(default_factory=dict)  # by agent


def write(run: Run, settings: Config, progress: Progress, arrays: dict[str, Any]) -> None:
    """Save a checkpoint of `arrays` at the progress's step, the metrics that it counts on first."""
    run.sync()
    progress.lines = run.lines
    about = identity.stamp(run, settings) | {"progress": vars(progress)}
    checkpoint.save(run.checkpoints / f"{progress.step:010d}", arrays, about)


def remove_old(run: Run, step: int) -> None:
    """Keep the newest checkpoints up to `step`; those after it were passed over, and stay."""
    behind = [path for path in checkpoint.newest(run.checkpoints) if int(path.name) <= step]
    for old in behind[KEEP_CHECKPOINTS:]:
        checkpoint.remove(old)


def read_newest(
    run: Run, settings: Config, like: dict[str, Any], warn: Callable[[str], None]
) -> tuple[dict[str, Any], Progress] | None:
    """The newest checkpoint that is whole and of this run; others are named and left.

    None where there is no checkpoint at all, CheckpointError where none is good. `like`: the arrays
    that are loaded in place.
    """
    found, first = checkpoint.newest(run.checkpoints), None
    for folder in found:
        try:
            tree, meta = checkpoint.load(folder, like, partial(_check, folder, run, settings))
            return tree, msgspec.convert(meta["progress"], Progress)
        except CheckpointError as error:
            first = first or str(error)
            warn(f"{error}; trying the checkpoint before it")
    if found:
        raise CheckpointError(f"'{run.path}' holds no checkpoint to go on from: {first}")
    return None


def _check(folder: Path, run: Run, settings: Config, about: dict[str, Any]) -> None:
    """CheckpointError unless a checkpoint is of this run, and goes on as it says."""
    identity.check(folder, about, run, settings)
    msgspec.convert(about["progress"], Progress)


def truncate_metrics(
    run: Run, progress: Progress, kept: tuple[str, ...], warn: Callable[[str], None]
) -> None:
    """Cut what was written after the checkpoint; of its own step only these kinds stay.

    A warning tells of lines before it that are not there any more.
    """
    reached = progress.step
    found = run.cut(
        lambda r: type(r.get("step")) is int and r["step"] < reached + (r.get("kind") in kept)
    )
    before = [r["step"] for r in found if r["step"] < reached or r["kind"] == "train"]
    if progress.lines is not None and len(before) != progress.lines:
        which = f"steps {min(before):,} to {max(before):,}" if before else "none"
        warn(
            f"{run.path}/metrics.jsonl has {len(before)} of the {progress.lines} lines that were "
            f"written up to step {reached:,} ({which}): the others are lost"
        )
