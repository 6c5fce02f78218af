"""What the page shows of a run, as JSON: every number as text, every curve as points."""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec

from rtpd.errors import shortened
from rtpd.storage.agent_id import AgentId
from rtpd.storage.manifest import Manifest
from rtpd.storage.records import METRICS
from rtpd.storage.run_folder import Run
from rtpd.system.formatting import clean, duration, eta_text, percent, show
from rtpd.system.formatting import score as score_text
from rtpd.system.formatting import share as share_text
from rtpd.training.progress import is_flat, of_teacher, progress
from rtpd.watch.metrics import Metrics, thinned


@dataclass(frozen=True)
class AgentRow:
    """A line of the table, and where the agent's curves are drawn."""

    name: str
    game: str  # "" if the run has one
    teacher: bool
    net: str
    parameters: str
    share: str  # of the teacher's parameters
    trained: str  # return in training
    score: str  # in the last evaluation
    of_teacher: str
    advantage: str
    constant: str
    flat: bool
    saved: bool  # whether it can play


class State:
    """A run folder, looked at again and again."""

    def __init__(self, path: Path) -> None:
        """Nothing is read yet."""
        self.path = path
        self.metrics = Metrics(path / METRICS)

    def look(self, seen: str = "") -> dict[str, Any]:
        """The run as it is now; no more than its age if the page has `seen` this version.

        RtpdError if the folder holds no run at this moment, or a damaged one.
        """
        folder = Run.open(self.path)
        manifest = folder.about
        self.metrics.read()
        saved = folder.agents
        version = f"{hash((str(folder.manifest), saved, self.metrics.version)):x}"
        written, running = self.metrics.written, manifest.status == "running"
        age = None if written is None else max(time.time() - written, 0.0)
        news = {"version": version, "running": running, "age": age}
        if version == seen:
            return news
        return {
            **news,
            "run": clean(self.path.resolve().name),
            **_head(manifest, self.metrics),
            "agents": [asdict(row) for row in self._rows(manifest, saved)],
            "curves": self._curves(manifest.agents),
        }

    def _rows(self, manifest: Manifest, saved: tuple[str, ...]) -> list[AgentRow]:
        rows = []
        for name, about in manifest.agents.items():
            agent = AgentId.parse(name)
            now = self.metrics.rows.get(name)
            told = msgspec.to_builtins(now) if now else {}
            played = self.metrics.scores.get(name)
            result = msgspec.to_builtins(played) if played else {}
            rows.append(
                AgentRow(
                    name=name,
                    game=agent.game,
                    teacher=agent.is_teacher,
                    net=_short(about.net + (f", {about.loss}" if about.loss else "")),
                    parameters=show(about.parameters or None),
                    share=share_text(about.share),
                    trained=show(told.get("return"), ",.1f"),
                    score=score_text(result),
                    of_teacher=of_teacher(result),
                    advantage=percent(told.get("advantage_kept")),
                    constant=percent(told.get("constant_advantage_kept")),
                    flat=is_flat(told),
                    saved=name in saved,
                )
            )
        return rows

    def _curves(self, agents: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """Points (step, value) by what is told, then by agent; scores with their errors."""
        found: dict[str, dict[str, Any]] = {
            what: {name: thinned(points) for name, points in by_agent.items() if name in agents}
            for what, by_agent in self.metrics.curves.items()
        }
        errors = self.metrics.errors
        found["error"] = {name: thinned(errors[name]) for name in found.get("score", {})}
        return found


def _short(text: str) -> str:
    """What stands in the file, as it can stand on the page."""
    return clean(shortened(text, 100))


def _head(manifest: Manifest, metrics: Metrics) -> dict[str, Any]:
    """What stands above the curves."""
    settings, last = manifest.settings, metrics.last
    record = msgspec.to_builtins(last) if last else {}
    limits = {"steps": settings.steps, "minutes": settings.minutes}
    done, eta = progress(limits, record)
    facts = [settings.env, manifest.preset and f"preset {manifest.preset}"]
    facts += [f"seed {manifest.seed}" if manifest.seed is not None else None]
    facts += [f"distilled from {manifest.distilled_from}" if manifest.distilled_from else None]
    facts += [f"{show(record.get('step'))} of {show(settings.steps)} steps" if last else None]
    facts += [f"{duration(record.get('seconds'))} of training" if last else None]
    if manifest.status == "running" and last:
        facts += [show(last.steps_per_second, unit=" steps/s"), f"ETA {eta_text(eta)}"]
    return {
        "env": _short(settings.env),
        "status": _short(manifest.status),
        "done": done,
        "facts": [_short(fact) for fact in facts if fact],
        "agents_come": f"every {show(settings.checkpoint_steps)} steps"
        if settings.checkpoint_steps
        else "at the end",
    }
