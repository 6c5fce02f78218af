"""A run folder: manifest.json, metrics.jsonl, agents/, checkpoints/.

manifest.json   what was asked, where and when it ran, how it ended
metrics.jsonl   one JSON object a line, only ever appended to (cut back when a run is resumed)
agents/         NAME.safetensors and NAME.json: teacher and students, to act with or export
checkpoints/    STEP/: all that is needed to go on
"""

import contextlib
import glob
import json
import os
import platform
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from rtpd.errors import RequestError, RtpdError, RunError, one_line, typed, unknown
from rtpd.storage.files import (
    appended,
    contents,
    discard,
    finite,
    inside,
    is_temporary,
    read_json,
    remove_temporaries,
    sync_folder,
    write_atomic,
    write_json,
)
from rtpd.storage.lines import records
from rtpd.storage.locks import is_locked, lock
from rtpd.storage.manifest import Manifest, parse_manifest
from rtpd.storage.migration import migrated
from rtpd.storage.provenance import now
from rtpd.storage.records import METRICS

LOCK = ".lock"
MANIFEST = "manifest.json"
PARTS = ("agents", "checkpoints")
STARTING = "starting"  # the status before all is there that training needs


class Run:
    """An existing run folder; `Run.create` makes one, `Run.open` finds one."""

    def __init__(self, path: Path) -> None:
        """Wrap a folder that is known to be a run."""
        self.path = path
        self.lines = 0  # of metrics.jsonl that `append` has written, and those that `cut` has kept
        self.manifest: dict[str, Any] = read_json(inside(path, MANIFEST))
        if isinstance(self.manifest, dict) and "config" in self.manifest:
            self.manifest["config"] = migrated(self.manifest["config"])

    @classmethod
    def create(cls, path: Path, manifest: dict[str, Any]) -> "Run":
        """Start a run in a new or empty folder; RunError if something is there.

        The manifest comes first, as a whole, and says whose folder it is. With the status
        "starting" the folder is free again, whatever else is in it when its process dies.
        """
        check_free(path)
        path.mkdir(parents=True, exist_ok=True)
        write_json(path / MANIFEST, manifest)
        run = cls(path)
        for name in PARTS:  # of one that was starting
            discard(path / name)
        run.tidy()
        return run

    def tidy(self) -> None:
        """Have the folders that a run needs, and nothing that a killed process left half done.

        For whoever has the folder `locked`.
        """
        for name in PARTS:
            inside(self.path, name).mkdir(exist_ok=True)
        agents = self.path / "agents"
        for folder in (self.path, agents, *(p for p in agents.iterdir() if not p.is_symlink())):
            remove_temporaries(folder)
        for path in self.checkpoints.iterdir():
            half = path.name.isdecimal() and not (path / "sha256.json").exists()
            if is_temporary(path.name) or (half and path.is_dir()):
                discard(path)

    @classmethod
    def open(cls, path: Path) -> "Run":
        """Open an existing run; RunError if the folder is none."""
        if not (path / MANIFEST).is_file():
            what = "has no manifest.json" if path.is_dir() else "is not a folder"
            raise RunError(f"'{path}' is not a run folder: it {what}")
        run = cls(path)
        if not isinstance(run.manifest, dict) or "config" not in run.manifest:
            raise RunError(f"'{path}' is not a run folder: its manifest.json holds no config")
        _ = run.about
        return run

    @property
    def about(self) -> Manifest:
        """What the manifest says now; CheckpointError if it is damaged."""
        return parse_manifest(self.manifest, self.path / MANIFEST)

    @property
    def checkpoints(self) -> Path:
        """Where checkpoints are."""
        return inside(self.path, "checkpoints")

    @property
    def agents(self) -> tuple[str, ...]:
        """Names of the agents saved, the teacher first, then in the order of the manifest."""
        listed = self.manifest.get("agents", {})
        return tuple(name for name in listed if self.agent_path(name).is_file())

    @property
    def random_scores(self) -> dict[str, float]:
        """Mean returns of random play that the run has measured, by env."""
        return self.about.random_scores

    def agent_path(self, name: str) -> Path:
        """The weights of an agent; its description is beside it, ending in .json.

        Of a teacher that is computed outside of JAX its ONNX file, if there is one.
        """
        inside(self.path, f"agents/{name}.json")
        model = inside(self.path, f"agents/{name}.onnx")
        return model if model.is_file() else inside(self.path, f"agents/{name}.safetensors")

    def check_agents(self, names: tuple[str, ...]) -> None:
        """RunError if an agent asked for is not there."""
        for name in names:
            if name not in self.agents and name in self.manifest.get("agents", {}):
                there = ", ".join(self.agents) or "none"
                raise RunError(f"{self.path}: agent '{name}' has not been saved: there is {there}")
            if name not in self.agents:
                raise RunError(f"{self.path}: {unknown('agent', name, self.agents)}")

    @contextmanager
    def noting_its_end(self) -> Generator[None]:
        """Whatever ends what runs inside, the manifest does not go on to say "running"."""
        self.manifest.pop("failure", None)  # of a run that is resumed
        try:
            yield
        except BaseException as error:
            if self.manifest.get("status") == "running":
                if isinstance(error, KeyboardInterrupt):
                    self.note(status="interrupted", ended=now())
                else:
                    self.note(status="failed", ended=now(), failure=one_line(error))
            raise

    def note(self, **entries: Any) -> None:  # noqa: ANN401
        """Add entries to the manifest, or replace them."""
        self.manifest |= entries
        write_json(self.path / MANIFEST, self.manifest)

    def append(self, record: dict[str, Any]) -> None:
        """Add a line to metrics.jsonl; values that are not finite become null."""
        line = json.dumps(finite(record), allow_nan=False) + "\n"
        with appended(self.path / METRICS) as file:
            file.write(line.encode())
        self.lines += 1

    def sync(self) -> None:
        """Flush metrics.jsonl to disk."""
        with appended(self.path / METRICS) as file:
            os.fsync(file.fileno())
        sync_folder(self.path)

    def records(self) -> list[dict[str, Any]]:
        """All whole lines of metrics.jsonl; CheckpointError if it is something else."""
        file = inside(self.path, METRICS)
        try:
            return list(records(contents(file), file))
        except RequestError:
            return []

    def cut(self, keep: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
        """Keep only the records for which `keep(record)` holds; returns them."""
        kept = [record for record in self.records() if keep(record)]
        lines = [json.dumps(record, allow_nan=False) + "\n" for record in kept]
        write_atomic(self.path / METRICS, "".join(lines).encode())
        self.lines = len(kept)
        return kept


@contextmanager
def locked(path: Path) -> Generator[None]:
    """Keep a run folder, made if need be, to this process.

    The lock ends with the process, however it dies; the file stays and says who had it last.

    Raises:
        RunError: if another process, which is named, has it.
    """
    path.mkdir(parents=True, exist_ok=True)
    with lock(path / LOCK, partial(_taken, path)) as file:
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()}".encode())
        file.flush()
        yield


def is_running(path: Path) -> bool:
    """Whether a process has the run folder."""
    return is_locked(path / LOCK)


def _taken(path: Path) -> str:
    holder = ""
    with contextlib.suppress(RtpdError):
        holder = contents(path / LOCK, 1000).decode(errors="replace")
    holder = holder[:200] or "another process"
    return f"'{path}' is being written by {holder}: wait for it, or stop it"


def check_free(path: Path) -> None:
    """RunError if a run cannot be started in this folder; writes nothing."""
    if path.is_dir() and not all(map(_is_remains, path.iterdir())):
        if (path / MANIFEST).is_file():
            manifest = read_json(inside(path, MANIFEST))
            status = manifest.get("status", "unknown") if isinstance(manifest, dict) else "unknown"
            if status == STARTING:
                return
            again = typed("rtpd", "train", "--resume", path)
            hint = "" if status == "finished" else f"; `{again}` goes on with it"
            raise RunError(f"'{path}' already holds a run (status: {status}){hint}")
        raise RunError(f"'{path}' is not empty: choose another --out")
    parent = next(p for p in (path, *path.absolute().parents) if p.exists())
    if not parent.is_dir():
        raise RunError(f"'{parent}' is a file: choose another --out")
    if not os.access(parent, os.W_OK):
        raise RunError(f"'{parent}' cannot be written to: choose another --out")


def _is_remains(path: Path) -> bool:
    """Whether a process that was killed before it wrote a manifest can have left this."""
    empty = path.name in PARTS and path.is_dir() and not any(path.iterdir())
    return empty or path.name == LOCK or is_temporary(path.name)


def next_folder(parent: Path, name: str) -> Path:
    """`parent/name-N` with the first N above all that are there."""
    taken = [p.name.removeprefix(f"{name}-") for p in parent.glob(f"{glob.escape(name)}-*")]
    return parent / f"{name}-{max((int(n) for n in taken if n.isdecimal()), default=0) + 1}"


def claim(parent: Path, name: str) -> Path:
    """Make `next_folder`, or the next one where another process makes that at the same time."""
    parent.mkdir(parents=True, exist_ok=True)
    while True:
        path = next_folder(parent, name)
        with contextlib.suppress(FileExistsError):
            path.mkdir()
            return path
