"""Run folders as plain data: what was asked, every evaluation, every line of training, by game."""

import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from rtpd.config.settings import Config, to_dict
from rtpd.errors import CheckpointError, RequestError, RtpdError, RunError
from rtpd.storage.files import contents, inside, read_json
from rtpd.storage.run_folder import Run, find


class Agent(msgspec.Struct, frozen=True):
    """What the manifest says of an agent."""

    parameters: int
    share: float | None = None
    multiply_adds: int | None = None
    net: str = ""
    loss: str | None = None


class Manifest(msgspec.Struct, frozen=True):
    """What a report needs of manifest.json; other entries are left alone."""

    config: dict[str, Any]
    agents: dict[str, Agent]
    seed: int
    status: str = "unknown"
    preset: str | None = None
    command: list[str] = []
    commit: str | None = None
    device: str | None = None
    machine: str | None = None
    python: str | None = None
    versions: dict[str, str | None] = {}
    started: str | None = None
    frames_per_step: int = 1
    step: int | None = None
    seconds: float | None = None
    distilled_from: str | None = None
    random_scores: dict[str, float] = {}


class Score(msgspec.Struct, frozen=True):
    """An agent's evaluation; the interval is over episodes."""

    mean: float
    episodes: int
    standard_error: float | None = None
    percent_of_teacher: float | None = None
    percent_interval: tuple[float, float] | None = None


class Evaluation(msgspec.Struct, frozen=True):
    """A line of kind "eval"."""

    step: int
    seconds: float
    agents: dict[str, Score]


class Lesson(msgspec.Struct, frozen=True):
    """How a student did in a line of training."""

    advantage_kept: float | None = None
    constant_advantage_kept: float | None = None


class Training(msgspec.Struct, frozen=True):
    """A line of kind "train"."""

    step: int
    seconds: float
    students: dict[str, Lesson] = {}


@dataclass(frozen=True)
class Record:
    """A run folder that has been read."""

    path: Path
    manifest: Manifest
    evaluations: tuple[Evaluation, ...]
    training: tuple[Training, ...]
    settings: dict[str, str]  # flat, as text, without what differs between seeds

    @property
    def games(self) -> list[str]:
        """Names of the environments."""
        return self.manifest.config["env"].split("+")

    @property
    def order(self) -> tuple[Any, ...]:
        """Sorts runs, whatever the order in which they were named."""
        return self.manifest.seed, self.manifest.started or "", str(self.path)

    @property
    def reach(self) -> int:
        """Agent steps until the last evaluation."""
        return self.evaluations[-1].step if self.evaluations else -1

    @property
    def seconds(self) -> float | None:
        """Wall seconds: of the whole run, or as far as it has come."""
        if self.manifest.seconds is not None:
            return self.manifest.seconds
        return max((line.seconds for line in (*self.evaluations, *self.training)), default=None)

    def fingerprint(self, agent: str) -> str | None:
        """The digest of an agent's weights and description; None if it was not kept."""
        try:
            about = read_json(inside(self.path / "agents", f"{agent}.json"))
        except RtpdError:
            return None
        return about.get("sha256") if isinstance(about, dict) else None


# What differs between runs without making them different experiments.
ASIDE = ("env", "seed", "checkpoint_steps", "log_steps", "environment.threads")


def gather(folders: Iterable[Path]) -> list[Record]:
    """Read the runs in these folders, each once, in an order of their own.

    RunError, in one line, for a folder without runs or a file that is damaged; RequestError if no
    run has been evaluated.
    """
    found = sorted((path for folder in folders for path in find(folder)), reverse=True)
    paths = {path.resolve(): path for path in found}
    records = sorted((read(path) for path in paths.values()), key=lambda record: record.order)
    if not any(record.evaluations for record in records):
        named = f"'{records[0].path}'" if len(records) == 1 else f"the {len(records)} runs"
        raise RequestError(f"{named}: no evaluation to report (evaluation.period_steps > 0 plays)")
    return records


def read(path: Path) -> Record:
    """Read a run folder; RunError names the file that is damaged."""
    file = path / "manifest.json"
    try:
        manifest = msgspec.convert(Run.open(path).manifest, Manifest)
    except RunError:
        raise
    except (RtpdError, ValueError, RecursionError) as error:
        raise RunError(f"'{file}' is damaged: {error}") from None
    if not isinstance(manifest.config.get("env"), str):
        raise RunError(f"'{file}' is damaged: its config names no env")
    evaluations, training = _lines(path)
    return Record(path, manifest, evaluations, training, _settings(manifest, path))


def _lines(folder: Path) -> tuple[tuple[Evaluation, ...], tuple[Training, ...]]:
    """The lines of metrics.jsonl; a last one that is still being written is left out."""
    file = folder / "metrics.jsonl"
    try:
        data = contents(inside(folder, file.name))
    except RequestError:
        data = b""
    except CheckpointError as error:
        raise RunError(str(error)) from None
    found: dict[str, list[Any]] = {"eval": [], "train": []}
    for number, line in enumerate(io.BytesIO(data), 1):
        if not line.endswith(b"\n"):
            break
        try:
            row = msgspec.json.decode(line)
            if row["kind"] == "rollback":
                continue
            lines = found.get(row["kind"], [])
            lines.append(msgspec.convert(row, Evaluation if row["kind"] == "eval" else Training))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise RunError(f"'{file}' is damaged: line {number}: {error}") from None
        if len(lines) > 1 and lines[-1].step <= lines[-2].step:
            what = f"step {lines[-1].step} after {lines[-2].step}"
            raise RunError(f"'{file}' is damaged: line {number}: {what}")
    return tuple(found["eval"]), tuple(found["train"])


def _settings(manifest: Manifest, path: Path) -> dict[str, str]:
    """Every setting that makes a run another experiment, as text, over today's defaults.

    A suite's folders GAME/VARIANT/seed-N give it the name of its variant.
    """
    found = flat(to_dict(Config())) | flat(manifest.config)
    kept = {key: value for key, value in found.items() if key not in ASIDE}
    kept["variant"] = path.parent.name if path.name.startswith("seed-") else ""
    kept["procedure"] = "two-stage" if manifest.distilled_from else "real-time"
    kept["games"] = manifest.config["env"] if "+" in manifest.config["env"] else ""
    return kept


def flat(table: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested tables as {"teacher.optimizer.eps": "0.00015"}."""
    found = {}
    for key, value in table.items():
        if isinstance(value, dict):
            found |= flat(value, f"{prefix}{key}.")
        elif isinstance(value, list | tuple):
            found[prefix + key] = " ".join(map(str, value))
        else:
            found[prefix + key] = f"{value:g}" if isinstance(value, float) else str(value).lower()
    return found


def source(record: Record, records: Iterable[Record]) -> Record | None:
    """The run whose teacher a two-stage run distilled: among `records`, or where it lay then.

    Known by the teacher's fingerprint, so another run in its place is not taken for it.
    """
    wanted = record.manifest.distilled_from
    agents = [name for name in record.manifest.agents if name.endswith("teacher")]
    marks = {agent: record.fingerprint(agent) for agent in agents}
    if wanted is None or not agents or None in marks.values():
        return None
    there = Path(wanted)
    elsewhere = (read_or_none(path) for path in (there, there.parent.parent))
    for other in (*records, *elsewhere):
        if other is None or other.manifest.distilled_from:
            continue
        if all(other.fingerprint(agent) == mark for agent, mark in marks.items()):
            return other
    return None


def read_or_none(path: Path) -> Record | None:
    """A run that may not be there any more."""
    try:
        return read(path)
    except (RtpdError, OSError):
        return None
