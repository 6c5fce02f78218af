"""Trackers: other tools that are told what metrics.jsonl is told (extra `track`)."""

from pathlib import Path
from typing import Any

from rtpd.console import Row
from rtpd.errors import RequestError
from rtpd.monitor import Monitor


class TensorBoard(Monitor):
    """Writes the numbers of each record as TensorBoard scalars, against agent steps."""

    def __init__(self, folder: Path) -> None:
        """Write into `folder`/tensorboard; RequestError if tensorboardX is not installed."""
        try:
            from tensorboardX import SummaryWriter
        except ImportError:
            raise RequestError(
                "--tensorboard needs the 'track' extra: pip install 'rtpd[track]'"
            ) from None
        self._open = lambda: SummaryWriter(str(folder / "tensorboard"))

    def start(self, info: Row) -> None:
        """Open the events file, now that the run folder exists."""
        del info
        self._writer = self._open()

    def record(self, record: Row) -> None:
        """Add every number of a record under its path, as in train/students/net1.7/agreement."""
        kind, step = record["kind"], record["step"]
        for path, value in _numbers(record, kind):
            if path != f"{kind}/step":
                self._writer.add_scalar(path, value, step)

    def close(self) -> None:
        """Flush what was written."""
        if hasattr(self, "_writer"):
            self._writer.close()


def _numbers(value: Any, path: str) -> list[tuple[str, float]]:  # noqa: ANN401
    if isinstance(value, dict):
        return [pair for key, item in value.items() for pair in _numbers(item, f"{path}/{key}")]
    return [(path, value)] if isinstance(value, int | float) else []
