"""What runs there are, how far they are, and how good their agents: `rtpd ls`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rtpd.errors import RtpdError
from rtpd.run import Run, find, is_running
from rtpd.types import teacher_of


def runs(folder: Path) -> list[dict[str, Any]]:
    """Every run in a folder, the newest first.

    Returns:
        A JSON-ready row each: {"run" (within the folder), "env", "state", "step", "steps",
        "minutes", "seconds", "started", "teacher", "students": {name: mean return}}. `state` is
        finished, running, interrupted, failed, killed (its process is gone without a word; it can
        be resumed) or damaged; `teacher` and `students` have the mean returns of the last
        evaluation.

    Raises:
        RunError: if there is no such folder, or no run in it.
    """
    rows = [_row(path) | {"run": str(path.relative_to(folder))} for path in find(folder)]
    return sorted(rows, key=lambda row: (row["started"] or "", row["run"]), reverse=True)


def _row(path: Path) -> dict[str, Any]:
    row = dict.fromkeys(("env", "step", "steps", "minutes", "seconds", "started", "teacher"))
    row |= {"state": "damaged", "students": {}}
    try:
        run = Run.open(path)
        about, config = run.manifest, run.manifest["config"]
        records = [record for record in run.records() if isinstance(record, dict)]
    except (RtpdError, OSError):
        return row
    state = about.get("status")
    if state == "running" and not is_running(path):
        state = "killed"
    row |= {key: config.get(key) for key in ("env", "steps", "minutes")}
    row |= {"state": str(state), "started": about.get("started")}
    last = records[-1] if records else {}
    row |= {key: about.get(key) or last.get(key) for key in ("step", "seconds")}
    evaluated = next((r["agents"] for r in reversed(records) if r.get("kind") == "eval"), {})
    return row | _scores(evaluated)


def _scores(agents: Mapping[str, Any]) -> dict[str, Any]:
    """Mean returns; those of several games have no one teacher, so None."""
    means = {name: row.get("mean") for name, row in agents.items()}
    teachers = [name for name in means if name == teacher_of(name)]
    students = {name: mean for name, mean in means.items() if name not in teachers}
    return {
        "teacher": means[teachers[0]] if len(teachers) == 1 else None,
        "students": students,
    }
