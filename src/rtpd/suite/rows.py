"""The state of every run of a suite, read from its folder while it goes on, and their sums."""

import contextlib
import statistics
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from rtpd.errors import CheckpointError, RtpdError
from rtpd.storage.follower import Follower
from rtpd.storage.records import METRICS, EvalRecord, Score, TrainRecord
from rtpd.storage.run_folder import Run
from rtpd.suite.attempt import Found
from rtpd.suite.plan import Job
from rtpd.training.progress import progress

OVER = ("finished", "failed", "interrupted")


class TrackedRun:
    """A run: waiting, running, or one of OVER; how far it is, and its newest scores."""

    def __init__(self, job: Job, found: Found) -> None:
        """As it is found before anything is started."""
        self.job = job
        self.state = "finished" if found.state == "finished" else "waiting"
        self.note = ""
        self.failures = 0
        self.begin(found)

    def begin(self, found: Found) -> None:
        """Forget what was read: the run goes on from `found`, or starts afresh."""
        self.step, self.resumed = found.step, 0
        self.train: TrainRecord | None = None  # the newest line of training
        self.agents: dict[str, Score] = {}  # of the newest evaluation
        self._follower = Follower(self.job.folder / METRICS)
        if found.state != "new":
            self.refresh()

    def refresh(self) -> None:
        """Take up what the run has written since."""
        with contextlib.suppress(CheckpointError):  # too many lines that are none
            for record in self._follower.read():
                if isinstance(record, TrainRecord):
                    self.train, self.step = record, record.step
                elif isinstance(record, EvalRecord):
                    self.agents = record.agents
        with contextlib.suppress(RtpdError):  # no manifest yet
            self.resumed = len(Run.open(self.job.folder).about.resumed)

    @property
    def seconds_per_step(self) -> float | None:
        """Over the whole run so far, evaluations included."""
        step, seconds = (self.train.step, self.train.seconds) if self.train else (0, 0.0)
        return seconds / step if step and seconds else None

    def left(self, seconds_per_step: float | None = None) -> tuple[float | None, float | None]:
        """Fraction done and seconds left, at its own newest speed or at the one that is given."""
        speed = {"steps_per_second": 1 / seconds_per_step} if seconds_per_step else {}
        config = self.job.config
        limits = {"steps": config.steps, "minutes": config.minutes}
        record = msgspec.to_builtins(self.train) if self.train else {}
        return progress(limits, {**record, "step": self.step, **speed})


def seconds_left(rows: Sequence[TrackedRun]) -> float | None:
    """Until all are done, if as many run at once as do now; None if no speed is known yet."""
    ahead = [row for row in rows if row.state not in OVER]
    spans = []
    for row in ahead:
        pace = row.seconds_per_step or _usual_pace(row, rows)
        left = row.left(pace)[1] if pace else None
        if left is None:
            return None
        spans.append(left)
    running = sum(row.state == "running" for row in ahead)
    return max(max(spans), sum(spans) / max(running, 1)) if spans else 0.0


def results(rows: Iterable[TrackedRun]) -> list[dict[str, Any]]:
    """The final evaluation of every agent, over the seeds whose runs are finished.

    Returns:
        A row a game, variant and agent: `mean` over seeds of the mean returns (unclipped), `seeds`
        (how many), and `standard_error` of that mean where there are two seeds or more.
    """
    means: dict[tuple[str, str, str], list[float]] = {}
    for row in rows:
        for agent, score in row.agents.items() if row.state == "finished" else ():
            key = (row.job.experiment.game, row.job.experiment.variant, agent)
            means.setdefault(key, []).append(score.mean)
    table = []
    for (game, variant, agent), values in means.items():
        about = {"game": game, "variant": variant, "agent": agent, "seeds": len(values)}
        about["mean"] = statistics.fmean(values)
        if len(values) > 1:
            about["standard_error"] = statistics.stdev(values) / len(values) ** 0.5
        table.append(about)
    return table


def described(row: TrackedRun) -> dict[str, Any]:
    """A run as tables and `--json` show it; speed and time left are None unless it is running."""
    experiment, config = row.job.experiment, row.job.config
    done, left = row.left()
    running = row.state == "running"
    return {
        "name": row.job.label,
        "game": experiment.game,
        "variant": experiment.variant,
        "seed": config.seed,
        "preset": experiment.preset,
        "state": row.state,
        "resumed": row.resumed,
        "step": row.step,
        "steps": config.steps,
        "done": done,
        "steps_per_second": row.train.steps_per_second if running and row.train else None,
        "seconds_left": left if running else None,
        "evaluation": msgspec.to_builtins(row.agents),
        "note": row.note,
        "run": str(row.job.folder),
        "log": str(row.job.log),
    }


def _usual_pace(row: TrackedRun, rows: Sequence[TrackedRun]) -> float | None:
    """Mean seconds per step of the runs of the same variant, else of all."""
    same = [r for r in rows if r.job.experiment.variant == row.job.experiment.variant]
    for group in (same, rows):
        paces = [pace for r in group if (pace := r.seconds_per_step)]
        if paces:
            return statistics.fmean(paces)
    return None
