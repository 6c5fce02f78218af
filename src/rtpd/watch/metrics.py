"""What the lines of metrics.jsonl say so far: the curves of every agent."""

from collections import defaultdict
from pathlib import Path

from rtpd.storage.follower import Follower
from rtpd.storage.records import AgentMetrics, EvalRecord, Record, Score, TrainRecord

MOST_POINTS = 1_000  # of a curve, more than a screen has room for

Point = tuple[int, float]


class Metrics:
    """What the lines so far say; `read` takes in those that are new."""

    def __init__(self, file: Path) -> None:
        """Nothing is read yet."""
        self._follower = Follower(file)
        self._forget()

    def _forget(self) -> None:
        self.last: TrainRecord | None = None
        self.rows: dict[str, AgentMetrics] = {}  # the latest of every agent
        self.scores: dict[str, Score] = {}  # the latest of every agent
        # By what is told and by agent: "return" and "advantage" kept in training, "constant" what
        # the best constant policy keeps of it, "score" the mean return of an evaluation.
        self.curves: dict[str, dict[str, list[Point]]] = defaultdict(lambda: defaultdict(list))
        self.errors: dict[str, list[float | None]] = defaultdict(list)  # of the scores
        self.clock: list[Point] = [(0, 0.0)]  # at which step, how many seconds of training

    @property
    def version(self) -> tuple[int, int]:
        """Another one once there is something else to see."""
        return self._follower.version

    @property
    def written(self) -> float | None:
        """When the file was last written, in seconds since 1970."""
        return self._follower.written

    def read(self) -> bool:
        """Take in every whole line that is new; whether there is anything else to see now.

        CheckpointError if too many of its lines are no records, as long as it is that file.
        """
        before = self.version
        records = self._follower.read()
        if self._follower.restarted:
            self._forget()
        for record in records:
            self._add(record)
        return self.version != before

    def _add(self, record: Record) -> None:
        if isinstance(record, EvalRecord):
            self.scores |= record.agents
            for name, score in record.agents.items():
                self.curves["score"][name].append((record.step, score.mean))
                self.errors[name].append(score.standard_error)
        elif isinstance(record, TrainRecord):
            self.last = record
            self.clock.append((record.step, record.seconds))
            self.rows |= record.agents
            for name, agent in record.agents.items():
                told = (agent.mean_return, agent.advantage_kept, agent.constant_advantage_kept)
                for what, value in zip(("return", "advantage", "constant"), told, strict=True):
                    if value is not None:
                        self.curves[what][name].append((record.step, value))


def thinned[T](points: list[T], most: int = MOST_POINTS) -> list[T]:
    """At most so many, evenly picked, the first and the last among them."""
    if len(points) <= most:
        return points
    return [points[round(i * (len(points) - 1) / (most - 1))] for i in range(most)]
