"""Run folders as plain data: what was asked, every evaluation, every line of training, by game."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from rtpd.config.loading import to_dict
from rtpd.config.settings import Config
from rtpd.errors import CheckpointError, RequestError, RtpdError, RunError
from rtpd.storage.agent_id import AgentId
from rtpd.storage.files import inside, read_json
from rtpd.storage.listing import find
from rtpd.storage.manifest import SIZE_UNKNOWN, Manifest
from rtpd.storage.records import METRICS, EvalRecord, TrainRecord, read_records
from rtpd.storage.run_folder import MANIFEST, Run


@dataclass(frozen=True)
class RunHistory:
    """A run folder that has been read."""

    path: Path
    manifest: Manifest
    seed: int
    evaluations: tuple[EvalRecord, ...]
    training: tuple[TrainRecord, ...]
    settings: dict[str, str]  # flat, as text: what makes it another experiment
    variant: str  # its name in a suite, "" outside of one

    @property
    def games(self) -> list[str]:
        """Names of the environments."""
        return self.manifest.settings.env.split("+")

    @property
    def order(self) -> tuple[Any, ...]:
        """Sorts runs, whatever the order in which they were named."""
        return self.seed, self.manifest.started or "", str(self.path)

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

    @cached_property
    def fingerprints(self) -> dict[str, str | None]:
        """The digest of each teacher's weights and description; None if it was not kept."""
        teachers = [name for name in self.manifest.agents if AgentId.parse(name).is_teacher]
        return {name: _fingerprint(self.path, name) for name in teachers}


def _fingerprint(run: Path, agent: str) -> str | None:
    try:
        about = read_json(inside(run / "agents", f"{agent}.json"))
    except RtpdError:
        return None
    return about.get("sha256") if isinstance(about, dict) else None


# What differs between runs without making them different experiments. The list of students is none
# of it either: a teacher learns the same whoever follows it, and a student whoever else does.
ASIDE = (
    "env", "seed", "students", "checkpoint_steps", "log_steps", "environment.threads",
    "evaluation.period_steps", "evaluation.episodes", "evaluation.final_episodes",
)  # fmt: skip


def gather(folders: Iterable[Path]) -> list[RunHistory]:
    """Read the runs in these folders, each once, in an order of their own.

    RunError, in one line, for a folder without runs or a file that is damaged; RequestError if no
    run has been evaluated.
    """
    found = sorted((path for folder in folders for path in find(folder)), reverse=True)
    paths = {path.resolve(): path for path in found}
    runs = sorted((read(path) for path in paths.values()), key=lambda run: run.order)
    if not any(run.evaluations for run in runs):
        named = f"'{runs[0].path}'" if len(runs) == 1 else f"the {len(runs)} runs"
        raise RequestError(f"{named}: no evaluation to report (evaluation.period_steps > 0 plays)")
    return runs


def read(path: Path) -> RunHistory:
    """Read a run folder; RunError names the file that is damaged."""
    file = path / MANIFEST
    try:
        manifest = Run.open(path).about
    except CheckpointError as error:
        raise RunError(str(error)) from None
    if not isinstance(manifest.config.get("env"), str):
        raise RunError(f"'{file}' is damaged: its config names no env")
    if manifest.seed is None:
        raise RunError(f"'{file}' is damaged: it names no seed")
    for name, agent in manifest.agents.items():
        if not agent.parameters and agent.net not in SIZE_UNKNOWN:
            raise RunError(f"'{file}' is damaged: it has no parameters of agent '{name}'")
    evaluations, training = _lines(path / METRICS)
    variant = path.parent.name if path.name.startswith("seed-") else ""  # GAME/VARIANT/seed-N
    settings = _settings(manifest)
    return RunHistory(path, manifest, manifest.seed, evaluations, training, settings, variant)


def _lines(file: Path) -> tuple[tuple[EvalRecord, ...], tuple[TrainRecord, ...]]:
    """The lines of metrics.jsonl; RunError names the first that cannot be."""
    evaluations: list[EvalRecord] = []
    training: list[TrainRecord] = []
    try:
        for number, record in read_records(file, strict=True):
            if isinstance(record, EvalRecord):
                _append(evaluations, record, f"'{file}' is damaged: line {number}")
            elif isinstance(record, TrainRecord):
                _append(training, record, f"'{file}' is damaged: line {number}")
    except CheckpointError as error:
        raise RunError(str(error)) from None
    return tuple(evaluations), tuple(training)


def _append[Line: (EvalRecord, TrainRecord)](lines: list[Line], line: Line, where: str) -> None:
    """Add a line; RunError unless steps rise."""
    if lines and line.step <= lines[-1].step:
        raise RunError(f"{where}: step {line.step} after {lines[-1].step}")
    lines.append(line)


def _settings(manifest: Manifest) -> dict[str, str]:
    """Every setting that makes a run another experiment, as text, over today's defaults."""
    found = defaults() | flat(manifest.config)
    kept = {key: value for key, value in found.items() if key not in ASIDE}
    kept["games"] = manifest.settings.env if "+" in manifest.settings.env else ""
    return kept


@cache
def defaults() -> dict[str, str]:
    """Every setting of this rtpd where nobody has set anything, as text."""
    return flat(to_dict(Config()))


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


def source(run: RunHistory, runs: Iterable[RunHistory]) -> RunHistory | None:
    """The run whose teacher a two-stage run distilled: among `runs`, or where it lay then.

    Known by the teacher's fingerprint, so another run in its place is not taken for it.
    """
    wanted, marks = run.manifest.distilled_from, run.fingerprints
    if wanted is None or not marks or None in marks.values():
        return None
    there = Path(wanted)
    elsewhere = (read_or_none(path) for path in (there, there.parent.parent))
    for other in (*runs, *elsewhere):
        if other is None or other.manifest.distilled_from:
            continue
        if all(other.fingerprints.get(agent) == mark for agent, mark in marks.items()):
            return other
    return None


def read_or_none(path: Path) -> RunHistory | None:
    """A run that may not be there any more."""
    try:
        return read(path)
    except (RtpdError, OSError):
        return None
