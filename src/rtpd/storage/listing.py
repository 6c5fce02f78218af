"""What runs there are, how far they are, and how good their agents: `rtpd ls`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from rtpd.errors import RtpdError, RunError, clean, shortened
from rtpd.storage.agent_id import AgentId
from rtpd.storage.records import METRICS, EvalRecord, RollbackRecord, Score, read_records
from rtpd.storage.run_folder import MANIFEST, STARTING, Run, is_running


def runs(folder: Path) -> list[dict[str, Any]]:
    """Every run in a folder, the newest first.

    Returns:
        A JSON-ready row each: {"run" (within the folder), "env", "state", "step", "steps",
        "minutes", "seconds", "started", "teacher", "students": {name: mean return}, "short":
        {name: what tables call it, where that is shorter}}. `state` is finished, running,
        interrupted, failed, killed (its process is gone without a word; it can be resumed) or
        damaged; `teacher` and `students` have the mean returns of the last evaluation.

    Raises:
        RunError: if there is no such folder, or no run in it.
    """
    rows = [_row(path) | {"run": str(path.relative_to(folder))} for path in find(folder)]
    return sorted(rows, key=lambda row: (row["started"] or "", row["run"]), reverse=True)


def find(folder: Path) -> list[Path]:
    """The run folders in a folder, or itself if it is one."""
    if not folder.is_dir():
        raise RunError(f"'{folder}' is not a folder")
    found = []
    for path, below, files in folder.walk():
        if MANIFEST in files:
            found.append(path)
            below.clear()
    if not found:
        raise RunError(f"'{folder}' holds no run folder: there is no manifest.json in it")
    return found


def _row(path: Path) -> dict[str, Any]:
    row = dict.fromkeys(("env", "step", "steps", "minutes", "seconds", "started", "teacher"))
    row |= {"state": "damaged", "students": {}, "short": {}}
    try:
        about = Run.open(path).about
        last = _last(path)
    except (RtpdError, OSError):
        return row
    killed = about.status in ("running", STARTING) and not is_running(path)
    settings = about.settings
    return {
        "env": _short(settings.env),
        "state": "killed" if killed else _short(about.status),
        "step": about.step or last.step,
        "steps": settings.steps,
        "minutes": settings.minutes,
        "seconds": about.seconds or last.seconds,
        "started": about.started and _short(about.started),
        **_scores({_short(name): score.mean for name, score in last.scores.items()}),
        "short": {name: agent.short for name, agent in about.agents.items() if agent.short},
    }


class _Last(NamedTuple):
    """How far metrics.jsonl has come, and its last evaluation."""

    step: int | None
    seconds: float | None
    scores: Mapping[str, Score]


def _last(path: Path) -> _Last:
    step, seconds, scores = None, None, dict[str, Score]()
    for _, record in read_records(path / METRICS):
        step = record.step
        if not isinstance(record, RollbackRecord):
            seconds = record.seconds
        if isinstance(record, EvalRecord):
            scores = record.agents
    return _Last(step, seconds, scores)


def _short(text: str) -> str:
    """What stands in the file, on one line."""
    return clean(shortened(text, 200))


def _scores(means: Mapping[str, float | None]) -> dict[str, Any]:
    """Mean returns; those of several games have no one teacher, so None."""
    teachers = [name for name in means if AgentId.parse(name).is_teacher]
    return {
        "teacher": means[teachers[0]] if len(teachers) == 1 else None,
        "students": {name: mean for name, mean in means.items() if name not in teachers},
    }
