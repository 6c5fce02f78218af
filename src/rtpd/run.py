"""A run folder: manifest.json, metrics.jsonl, agents/, checkpoints/.

manifest.json   what was asked, where and when it ran, how it ended
metrics.jsonl   one JSON object a line, only ever appended to (cut back when a run is resumed)
agents/         NAME.safetensors and NAME.json: teacher and students, to act with or export
checkpoints/    STEP/: all that is needed to go on
"""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

from rtpd.errors import CheckpointError, RequestError, RunError, typed, unknown
from rtpd.files import (
    contents,
    inside,
    is_locked,
    lock,
    parse_json,
    read_json,
    write_atomic,
    write_json,
)

PACKAGES = ("rtpd", "jax", "jaxlib", "equinox", "optax", "numpy", "ale-py", "gymnasium")


LOCK = ".lock"


class Run:
    """An existing run folder; `Run.create` makes one, `Run.open` finds one."""

    def __init__(self, path: Path) -> None:
        """Wrap a folder that is known to be a run."""
        self.path = path
        self.manifest: dict[str, Any] = read_json(path / "manifest.json")

    @classmethod
    def create(cls, path: Path, manifest: dict[str, Any]) -> "Run":
        """Start a run in a new or empty folder; RunError if something is there."""
        check_free(path)
        path.mkdir(parents=True, exist_ok=True)
        for name in ("agents", "checkpoints"):
            (path / name).mkdir()
        write_json(path / "manifest.json", manifest)
        return cls(path)

    @classmethod
    def open(cls, path: Path) -> "Run":
        """Open an existing run; RunError if the folder is none."""
        if not (path / "manifest.json").is_file():
            what = "has no manifest.json" if path.is_dir() else "is not a folder"
            raise RunError(f"'{path}' is not a run folder: it {what}")
        run = cls(path)
        if not isinstance(run.manifest, dict) or "config" not in run.manifest:
            raise RunError(f"'{path}' is not a run folder: its manifest.json holds no config")
        for name in ("config", "agents"):
            if not isinstance(run.manifest.get(name, {}), dict):
                raise CheckpointError(f"'{path}/manifest.json' is damaged: {name} is no object")
        return run

    @property
    def checkpoints(self) -> Path:
        """Where checkpoints are."""
        return self.path / "checkpoints"

    @property
    def agents(self) -> tuple[str, ...]:
        """Names of the agents saved, the teacher first, then in the order of the manifest."""
        listed = self.manifest.get("agents", {})
        return tuple(name for name in listed if self.agent_path(name).is_file())

    def agent_path(self, name: str) -> Path:
        """The weights of an agent; its description is beside it, ending in .json."""
        return inside(self.path / "agents", f"{name}.safetensors")

    def check_agents(self, names: tuple[str, ...]) -> None:
        """RunError if an agent asked for is not there."""
        for name in names:
            if name not in self.agents:
                raise RunError(f"{self.path}: {unknown('agent', name, self.agents)}")

    @contextmanager
    def noting_its_end(self) -> Generator[None]:
        """Whatever ends what runs inside, the manifest does not go on to say "running"."""
        try:
            yield
        except BaseException as error:
            if self.manifest.get("status") == "running":
                status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
                self.note(status=status, ended=now())
            raise

    def note(self, **entries: Any) -> None:  # noqa: ANN401
        """Add entries to the manifest, or replace them."""
        self.manifest |= entries
        write_json(self.path / "manifest.json", self.manifest)

    def append(self, record: dict[str, Any]) -> None:
        """Add a line to metrics.jsonl; values that are not finite become null."""
        with (self.path / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(_finite(record), allow_nan=False) + "\n")

    def records(self) -> list[dict[str, Any]]:
        """All whole lines of metrics.jsonl."""
        try:
            lines = contents(self.path / "metrics.jsonl").split(b"\n")
        except RequestError:
            return []
        records = []
        for line in lines:
            try:
                records.append(parse_json(line))
            except ValueError:
                continue  # a line that a crash cut short
        return records

    def cut(self, keep: Any) -> None:  # noqa: ANN401
        """Keep only the records for which `keep(record)` holds."""
        lines = [json.dumps(record) + "\n" for record in self.records() if keep(record)]
        write_atomic(self.path / "metrics.jsonl", "".join(lines).encode())


def find(folder: Path) -> list[Path]:
    """The run folders in a folder, or itself if it is one."""
    if not folder.is_dir():
        raise RunError(f"'{folder}' is not a folder")
    found = []
    for path, below, files in folder.walk():
        if "manifest.json" in files:
            found.append(path)
            below.clear()
    if not found:
        raise RunError(f"'{folder}' holds no run folder: there is no manifest.json in it")
    return found


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
    holder = (path / LOCK).read_text(errors="replace")[:200] or "another process"
    return f"'{path}' is being written by {holder}: wait for it, or stop it"


def check_free(path: Path) -> None:
    """RunError if a run cannot be started in this folder; writes nothing."""
    if path.is_dir() and any(p.name != LOCK for p in path.iterdir()):
        if (path / "manifest.json").is_file():
            manifest = read_json(path / "manifest.json")
            status = manifest.get("status", "unknown") if isinstance(manifest, dict) else "unknown"
            again = typed("rtpd", "train", "--resume", path)
            hint = "" if status == "finished" else f"; `{again}` goes on with it"
            raise RunError(f"'{path}' already holds a run (status: {status}){hint}")
        raise RunError(f"'{path}' is not empty: choose another --out")
    parent = next(p for p in (path, *path.absolute().parents) if p.exists())
    if not parent.is_dir():
        raise RunError(f"'{parent}' is a file: choose another --out")
    if not os.access(parent, os.W_OK):
        raise RunError(f"'{parent}' cannot be written to: choose another --out")


def next_folder(parent: Path, name: str) -> Path:
    """`parent/name-N` with the first N that is free."""
    taken = [p.name.removeprefix(f"{name}-") for p in parent.glob(f"{name}-*")]
    return parent / f"{name}-{max((int(n) for n in taken if n.isdigit()), default=0) + 1}"


def provenance(device: str) -> dict[str, Any]:
    """Where a run comes from: command, versions, commit, machine, time."""
    return {
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "commit": _commit(),
        "device": device,
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
        "started": now(),
    }


def now() -> str:
    """UTC time to the second, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The commit that rtpd's source is at, with "+" if it was changed since; None if unknown."""
    here = Path(__file__).parent
    try:
        commit, changes = (
            subprocess.run(
                ["git", "-C", str(here), *args],
                capture_output=True,
                text=True,
                check=True,
                timeout=5,
            ).stdout.strip()
            for args in (("rev-parse", "HEAD"), ("status", "--porcelain", "--", str(here)))
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return commit + ("+" if changes else "")


def _finite(value: Any) -> Any:  # noqa: ANN401
    """The same JSON with numbers that are not finite replaced by None."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not (-float("inf") < value < float("inf")):
        return None
    return value
