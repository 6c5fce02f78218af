"""What runs there are, how far they are, and how good their agents: `rtpd ls`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from rtpd.errors import RtpdError, clean, shortened
from rtpd.storage.run_folder import STARTING, Run, find, is_running
from rtpd.types import teacher_of


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


class _Config(msgspec.Struct):
    env: str
    steps: float | None = None
    minutes: float | None = None


class _Agent(msgspec.Struct):
    short: str | None = None


class _About(msgspec.Struct):
    """What is listed of manifest.json."""

    config: _Config
    status: str = "unknown"
    started: str | None = None
    step: float | None = None
    seconds: float | None = None
    agents: dict[str, _Agent] = {}


class _Score(msgspec.Struct):
    mean: float | None = None


class _Line(msgspec.Struct):
    """What is listed of a line of metrics.jsonl."""

    kind: str
    step: float | None = None
    seconds: float | None = None
    agents: dict[str, _Score] = {}


def _row(path: Path) -> dict[str, Any]:
    row = dict.fromkeys(("env", "step", "steps", "minutes", "seconds", "started", "teacher"))
    row |= {"state": "damaged", "students": {}, "short": {}}
    try:
        run = Run.open(path)
        about = msgspec.convert(run.manifest, _About)
        lines = [msgspec.convert(record, _Line) for record in run.records()]
    except (RtpdError, OSError, ValueError, RecursionError):
        return row
    killed = about.status in ("running", STARTING) and not is_running(path)
    last = lines[-1] if lines else about
    evaluated = next((line.agents for line in reversed(lines) if line.kind == "eval"), {})
    return {
        "env": _short(about.config.env),
        "state": "killed" if killed else _short(about.status),
        "step": about.step or last.step,
        "steps": about.config.steps,
        "minutes": about.config.minutes,
        "seconds": about.seconds or last.seconds,
        "started": about.started and _short(about.started),
        **_scores({_short(name): score.mean for name, score in evaluated.items()}),
        "short": {name: agent.short for name, agent in about.agents.items() if agent.short},
    }


def _short(text: str) -> str:
    """What stands in the file, on one line."""
    return clean(shortened(text, 200))


def _scores(means: Mapping[str, float | None]) -> dict[str, Any]:
    """Mean returns; those of several games have no one teacher, so None."""
    teachers = [name for name in means if name == teacher_of(name)]
    return {
        "teacher": means[teachers[0]] if len(teachers) == 1 else None,
        "students": {name: mean for name, mean in means.items() if name not in teachers},
    }
