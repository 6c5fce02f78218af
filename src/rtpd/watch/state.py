"""What the page shows of a run, as JSON: every number as text, every curve as points."""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec

from rtpd import envs
from rtpd.envs.baselines import baselines
from rtpd.errors import shortened
from rtpd.storage.agent_id import AgentId
from rtpd.storage.manifest import Manifest
from rtpd.storage.records import METRICS
from rtpd.storage.run_folder import Run
from rtpd.system.formatting import clean, duration, percent, show
from rtpd.system.formatting import score as score_text
from rtpd.system.formatting import share as share_text
from rtpd.training.progress import is_flat, of_teacher
from rtpd.watch.metrics import Metrics, thinned
from rtpd.watch.status import ACTIVE, Status, status_of


@dataclass(frozen=True)
class AgentRow:
    """A line of the table, and where the agent's curves are drawn."""

    name: str
    game: str  # "" if the run has one
    env: str  # the same as ale/GAME: runs that have it in common share their charts
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

    def __init__(self, path: Path, name: str | None = None) -> None:
        """Nothing is read yet; `name` is what the page calls the run, by default its folder's."""
        self.path, self.name = path, name or path.resolve().name
        self.metrics = Metrics(path / METRICS)

    def look(self, seen: str = "") -> dict[str, Any]:
        """The run as it is now; no more than its age if the page has `seen` this version.

        RtpdError if the folder holds no run at this moment, or a damaged one.
        """
        folder = Run.open(self.path)
        manifest = folder.about
        self.metrics.read()
        saved = folder.agents
        status = status_of(folder, self.metrics.last)
        seen_now = str(folder.manifest), saved, self.metrics.version, status.word
        version = f"{hash(seen_now):x}"
        written, running = self.metrics.written, status.word == "running"
        age = None if written is None else max(time.time() - written, 0.0)
        news = {"version": version, "running": running, "age": age}
        if version == seen:
            return news
        return {
            **news,
            "run": clean(self.name),
            **_head(manifest, self.metrics, status),
            "references": _references(manifest),
            "agents": [asdict(row) for row in self._rows(manifest, saved)],
            "curves": self._curves(manifest.agents),
            "clock": thinned(self.metrics.clock),
        }

    def _rows(self, manifest: Manifest, saved: tuple[str, ...]) -> list[AgentRow]:
        rows, games = [], _envs(manifest)
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
                    env=_short(games.get(agent.game, agent.game)),
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


def _envs(manifest: Manifest) -> dict[str, str]:
    """The envs of a run by what its agents call them, see `AgentId.game`."""
    names = manifest.settings.env.split("+")
    return {envs.short(name): name for name in names} if len(names) > 1 else {"": names[0]}


def _references(manifest: Manifest) -> dict[str, dict[str, float]]:
    """By env, the mean returns that curves are compared with, where they are known."""
    found = {}
    for env in _envs(manifest).values():
        known = baselines().get(env.removeprefix("ale/"))
        if known:
            found[_short(env)] = {"random play": known.random, "human": known.human}
        elif env in manifest.random_scores:
            found[_short(env)] = {"random play": manifest.random_scores[env]}
    return found


def _head(manifest: Manifest, metrics: Metrics, status: Status) -> dict[str, Any]:
    """What stands above the curves."""
    settings, last = manifest.settings, metrics.last
    facts = [settings.env, manifest.preset and f"preset {manifest.preset}"]
    facts += [f"seed {manifest.seed}" if manifest.seed is not None else None]
    facts += [f"distilled from {manifest.distilled_from}" if manifest.distilled_from else None]
    if status.word in ACTIVE and last:
        facts += [f"{duration(last.seconds)} of training"]
        facts += [show(last.steps_per_second, unit=" steps/s")]
    every = f" (every {show(settings.checkpoint_steps)} steps)"
    return {
        "env": _short(settings.env),
        "status": status.word,
        "progress": status.line,
        "done": status.done,
        "facts": [_short(fact) for fact in facts if fact],
        "agents_come": "with each evaluation and each checkpoint" + every
        if settings.checkpoint_steps
        else "with each evaluation, and at the end",
    }
