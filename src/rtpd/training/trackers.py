"""Trackers: other tools that are told what metrics.jsonl is told, which stays the truth.

To add one, write a `Tracker` with `open`, `log` and `end`, and add a line to `TRACKERS`. All write
into the run folder and send nothing, unless the user has told the tool to (WANDB_MODE=online).
"""

import json
import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, override

from rtpd.errors import ConfigError, RequestError, unknown
from rtpd.storage.files import inside, sha256
from rtpd.storage.run_folder import Run
from rtpd.system.formatting import Row
from rtpd.training.monitor import Monitor


class Tracker(Monitor):
    """Tells every number of each record under its path, as in train/students/net1.7/agreement."""

    package = ""  # what must be installed

    def __init__(self) -> None:
        """RequestError if the tool is not installed; nothing is written before the run starts."""
        self.is_open = False
        try:
            self.load()
        except ImportError:
            raise RequestError(
                f"--track {self.name} needs '{self.package}': pip install {self.package}"
            ) from None

    @property
    def name(self) -> str:
        """What it is called in TRACKERS, and its folder in that of the run."""
        return next(name for name, kind in TRACKERS.items() if kind is type(self))

    def start(self, info: Row) -> None:
        """Open it, now that the run folder exists, and tell what metrics.jsonl holds already.

        A run that goes on does so from its last checkpoint: what the tool was told after that is
        told again. So it begins anew, with what is true. CheckpointError if a link leads elsewhere.
        """
        self.close()
        run = Run.open(Path(info["run"]))
        self.folder = run.path
        inside(self.folder, self.name)
        self.open(run.manifest)
        self.is_open = True
        for record in run.records():
            if record.get("kind") in ("train", "eval"):
                self.record(record)

    def record(self, record: Row) -> None:
        """Pass on a record's numbers, against agent steps."""
        numbers = dict(_numbers(record, record["kind"]))
        step = int(numbers.pop(f"{record['kind']}/step"))
        self.log(numbers, step)

    def close(self) -> None:
        """Flush what was written."""
        if self.is_open:
            self.is_open = False
            self.end()

    def load(self) -> None:
        """Import the tool; ImportError if it is not installed."""

    def open(self, manifest: dict[str, Any]) -> None:
        """Begin, without what an earlier part of the run has told."""
        raise NotImplementedError

    def log(self, numbers: dict[str, float], step: int) -> None:
        """Take the numbers of one record."""
        raise NotImplementedError

    def end(self) -> None:
        """Flush and close."""
        raise NotImplementedError


class TensorBoard(Tracker):
    """Events in RUN/tensorboard."""

    package = "tensorboardX"

    @override
    def load(self) -> None:
        from tensorboardX import SummaryWriter

        self._new = SummaryWriter

    @override
    def open(self, manifest: dict[str, Any]) -> None:
        del manifest
        for events in (self.folder / "tensorboard").glob("events.out.tfevents.*"):
            events.unlink()
        self._writer = self._new(str(self.folder / "tensorboard"))

    @override
    def log(self, numbers: dict[str, float], step: int) -> None:
        for path, value in numbers.items():
            self._writer.add_scalar(path, value, step)

    @override
    def end(self) -> None:
        self._writer.close()


class Wandb(Tracker):
    """Weights & Biases: an offline run in RUN/wandb, for `wandb sync`; WANDB_MODE=online sends.

    A run that goes on has the same id; of what is sent again, wandb takes only later steps.
    """

    package = "wandb"

    @override
    def load(self) -> None:
        import wandb

        self._wandb = wandb

    @override
    def open(self, manifest: dict[str, Any]) -> None:
        mode = os.environ.get("WANDB_MODE", "offline")
        what = [manifest.get(key) for key in ("started", "command", "machine", "seed")]
        name = sha256(json.dumps(what).encode())[:16]
        for earlier in (self.folder / "wandb").glob(f"offline-run-*-{name}"):
            shutil.rmtree(earlier)
        self._run = self._wandb.init(
            project=os.environ.get("WANDB_PROJECT", "rtpd"),
            name=self.folder.name,
            dir=self.folder.absolute(),
            config=manifest["config"],
            mode=mode,
            id=name,
            resume=None if mode == "offline" else "allow",
            settings=self._wandb.Settings(silent=True, console="off"),
        )

    @override
    def log(self, numbers: dict[str, float], step: int) -> None:
        self._run.log(numbers, step=step)

    @override
    def end(self) -> None:
        self._run.finish()


class Trackio(Tracker):
    """A database in RUN/trackio, for `TRACKIO_DIR=RUN/trackio trackio show`."""

    package = "trackio"

    @override
    def load(self) -> None:
        if find_spec("trackio") is None:
            raise ImportError("trackio")

    @override
    def open(self, manifest: dict[str, Any]) -> None:
        project, name, own = "rtpd", self.folder.name, str((self.folder / "trackio").absolute())
        os.environ.setdefault("TRACKIO_DIR", own)
        import trackio  # which reads TRACKIO_DIR now

        self._trackio = trackio
        if os.environ["TRACKIO_DIR"] == own:  # no other's
            with suppress(ValueError):  # there is none yet
                for earlier in trackio.Api().runs(project):
                    earlier.delete()
        self._run = trackio.init(
            project=project, name=name, config=manifest["config"], resume="never"
        )

    @override
    def log(self, numbers: dict[str, float], step: int) -> None:
        self._trackio.log(numbers, step=step)

    @override
    def end(self) -> None:
        self._trackio.finish()


TRACKERS: dict[str, type[Tracker]] = {
    "tensorboard": TensorBoard,
    "wandb": Wandb,
    "trackio": Trackio,
}


def trackers(names: Iterable[str]) -> list[Monitor]:
    """A tracker for each name; RequestError if one is unknown or not installed."""
    for name in names:
        if name not in TRACKERS:
            raise ConfigError(f"--track: {unknown('tracker', name, TRACKERS)}")
    return [TRACKERS[name]() for name in dict.fromkeys(names)]


def _numbers(value: Any, path: str) -> list[tuple[str, float]]:  # noqa: ANN401
    if isinstance(value, dict):
        return [pair for key, item in value.items() for pair in _numbers(item, f"{path}/{key}")]
    return [(path, value)] if isinstance(value, int | float) else []
