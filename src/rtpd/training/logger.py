"""What a run writes down and tells while it goes on: metrics, warnings, evaluations."""

import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import numpy as np

from rtpd.agents.evaluate import compare, play, untaught_of
from rtpd.config.settings import Config
from rtpd.envs.options import IMPORT, modules_of
from rtpd.errors import typed
from rtpd.learning.student_spec import parse_students
from rtpd.learning.teachers import schedule_of
from rtpd.networks.policy import HostPolicy, Policy
from rtpd.storage.agent_id import TEACHER, AgentId
from rtpd.storage.manifest import taught_by
from rtpd.storage.records import AgentMetrics, EvalRecord, Record, Score, TrainRecord
from rtpd.storage.run_folder import Run
from rtpd.system.formatting import count, percent
from rtpd.system.memory import gigabytes, peak_bytes, program_bytes
from rtpd.training.background import Background
from rtpd.training.health import HealthWarnings
from rtpd.training.monitor import Monitor

RECENT_EPISODES = 20

Rows = dict[str, dict[str, Any]]


class RunLogger:
    """Writes metrics.jsonl and tells the monitors; plays evaluations beside the training."""

    def __init__(
        self, run: Run, config: Config, frames_per_step: int, players: list[str],
        monitors: list[Monitor],
    ) -> None:  # fmt: skip
        """Start the clock at 0; `start` sets it for a resumed run. `players` drive the envs."""
        self.run, self.config, self.monitors = run, config, monitors
        self.frames_per_step = frames_per_step
        self.recent = {name: deque[float](maxlen=RECENT_EPISODES) for name in players}
        self.episodes = 0
        self.health = HealthWarnings(config, self.warn)
        self._evaluating = Background[Rows]()
        self.start(0, 0.0)

    def start(self, step: int, seconds: float) -> None:
        """The clock of training goes on from `seconds` at `step`."""
        self._clock = time.monotonic() - seconds
        self._last_step, self._last_seconds = step, seconds

    @property
    def seconds(self) -> float:
        """Wall seconds of training, over all sessions of the run."""
        return time.monotonic() - self._clock

    def announce(self, step: int, replay_bytes: int, cadence: str) -> None:
        """Tell what will be run, from `step` on; `cadence` says how often the teacher learns."""
        settings, manifest, replay = self.config, self.run.manifest, self.config.replay
        total = replay_bytes + program_bytes(len(settings.games) * settings.num_envs)
        about = {name: manifest[name] for name in ("preset", "device", "seed", "agents")}
        info = about | {
            "env": settings.env,
            "teacher": settings.teacher.algorithm,
            **taught_by(self.run.about.distilled_from),
            "run": str(self.run.path),
            "steps": settings.steps,
            "minutes": settings.minutes or None,
            "start_step": step,
            "notes": [
                f"replay of {replay.capacity:,} transitions: {gigabytes(replay_bytes)}; "
                f"about {gigabytes(total)} of memory in all",
                f"{count(settings.num_envs, 'env')}; {cadence}, "
                f"after {replay.warmup_steps:,} steps of warm-up",
                f"convolutions and products in {settings.compute}",
                *self._notes_of_late_updates(),
                *self._note_of_consolidation(),
            ],
        }
        for monitor in self.monitors:
            monitor.start(info)

    def _notes_of_late_updates(self) -> list[str]:
        students, late = parse_students(self.config), dict[tuple[int, float], list[str]]()
        for student in students:
            settings = student.settings
            if student.late_updates > settings.updates:
                key = student.late_updates, settings.late_share
                late.setdefault(key, []).append(student.short)
        minutes = " or of the minutes" if self.config.minutes else ""
        return [
            f"over the last {percent(share)} of the teacher's updates{minutes} "
            f"{count(updates, 'student update')} for each of them"
            + (f": {', '.join(names)}" if len(names) < len(students) else "")
            for (updates, share), names in late.items()
        ]

    def _note_of_consolidation(self) -> list[str]:
        schedule, consolidation = schedule_of(self.config), self.config.consolidation
        if not schedule.consolidates:
            return []
        return [
            f"from step {schedule.consolidation_start:,} on the teacher rests: "
            f"{count(consolidation.updates, 'student update')} in the place of each of its own"
        ]

    def sum_up(
        self, status: str, step: int, seconds: float, rows: Rows, evaluation_seconds: float
    ) -> dict[str, Any]:
        """Tell how it went and what to type next; `rows` is the final evaluation, if any.

        `seconds` are those of training, to which the final evaluation adds its own.
        """
        folder = self.run.path
        go_on, more = ["rtpd", "train", "--resume", folder], ["--steps", 2 * step]
        if self.config.minutes:
            more += ["--minutes", f"{2 * self.config.minutes:g}"]
        commands = [["rtpd", "evaluate", folder], go_on + more] if status == "finished" else [go_on]
        trusted = ",".join(modules_of(self.config.env))  # else they would not be imported then
        before = f"{typed(f'{IMPORT}={trusted}')} " if trusted else ""
        agents = self.run.manifest["agents"]
        summary = {
            "run": str(folder),
            "status": status,
            "step": step,
            "frames": step * self.frames_per_step,
            "seconds": seconds,
            "evaluation_seconds": evaluation_seconds,
            "peak_bytes": peak_bytes(),
            "agents": {name: about | rows.get(name, {}) for name, about in agents.items()},
            **taught_by(self.run.about.distilled_from),
            "next": [before + typed(*command) for command in commands],
        }
        for monitor in self.monitors:
            monitor.finish(summary)
        return summary

    def phase(self, text: str) -> None:
        """Tell what is being done now."""
        for monitor in self.monitors:
            monitor.phase(text)

    def warn(self, text: str) -> None:
        """Tell something in one line that stays."""
        for monitor in self.monitors:
            monitor.warn(text)

    def book(self, player: str, total: float) -> None:
        """Count an episode of the training and its unclipped return."""
        self.recent[player].append(total)
        self.episodes += 1

    def training(
        self, step: int, epsilon: float, updates: int, means: Mapping[str, dict[str, float]],
        *, consolidating: bool = False,
    ) -> None:  # fmt: skip
        """Write a line of training; `means` are those of every agent since the last line.

        `consolidating`: the teacher rests.
        """
        if step <= self._last_step:
            return
        seconds = self.seconds
        rate = (step - self._last_step) / max(seconds - self._last_seconds, 1e-9)
        self._last_step, self._last_seconds = step, seconds
        metrics = self._metrics(means)
        teachers = {name: row for name, row in metrics.items() if AgentId.parse(name).is_teacher}
        students = {name: row for name, row in metrics.items() if name not in teachers}
        record = TrainRecord(
            step=step,
            frames=step * self.frames_per_step,
            seconds=round(seconds, 3),
            steps_per_second=round(rate, 1),
            epsilon=round(epsilon, 4),
            updates=updates,
            episodes=self.episodes,
            students=students,
        )
        if consolidating:
            record.consolidating = True
        if TEACHER in teachers:
            record.teacher = teachers[TEACHER]
        else:
            record.teachers = teachers
        self._record(record)
        for name, row in students.items():
            self.health.check_student(name, row, updates)

    def _metrics(self, means: Mapping[str, dict[str, float]]) -> dict[str, AgentMetrics]:
        """What a line of training says of every agent: its means, and its return if it plays."""
        found = {name: AgentMetrics(**row) for name, row in means.items()}
        for name, recent in self.recent.items():
            played = float(np.mean(recent)) if recent else None
            found.setdefault(name, AgentMetrics()).played = played
        return found

    def begin_evaluation(
        self, policies: Mapping[str, Policy | HostPolicy], episodes: int, step: int
    ) -> None:
        """Let agents play beside the training, after `end_evaluation` of those before."""
        args = (policies, episodes, step, self.seconds)
        self._evaluating.begin(lambda stop: self.evaluation(*args, stop))

    def end_evaluation(self, hurry: Callable[[], bool] = lambda: False) -> Rows | None:
        """Wait for the evaluation going on, if any, for its rows; raises what went wrong in it.

        Once `hurry()` holds, only for a few seconds; None if it is not over then.
        """
        return self._evaluating.end(
            hurry, lambda: self.warn("an evaluation was given up, since the run is to end")
        )

    def evaluation(
        self, policies: Mapping[str, Policy | HostPolicy], episodes: int, step: int, seconds: float,
        stop: Callable[[], bool] = lambda: False, *, tell: bool = False,
    ) -> Rows:  # fmt: skip
        """Play and write a line; `seconds` is the time of training when the agents were copied.

        KeyboardInterrupt once `stop()` holds. `tell`: the monitors hear how far it is.
        """

        def told(played: int) -> None:
            for monitor in self.monitors if tell else ():
                monitor.playing(played, episodes * len(policies))

        settings = self.config.evaluation
        results = play(
            policies,
            self.config.environment,
            episodes=episodes,
            epsilon=settings.epsilon,
            seed=self.config.seed + 1,
            stop=stop,
            told=told,
        )
        rows = compare(results, self.run.random_scores, untaught_of(policies))
        scores = {name: Score(**row) for name, row in rows.items()}
        self._record(EvalRecord(step=step, agents=scores, seconds=round(seconds, 3)))
        for name, row in rows.items():
            if row["cut_off"]:
                self.warn(
                    f"{name}: {row['cut_off']} of {episodes} episodes did not end and were cut off "
                    f"after {self.config.environment.max_episode_frames:,} frames "
                    "(--environment.max-episode-frames)"
                )
        return rows

    def close(self) -> None:
        """See the evaluation going on to an end and give the terminal back."""
        self._evaluating.close()
        for monitor in self.monitors:
            monitor.close()

    def _record(self, record: Record) -> None:
        """Write a line and tell the monitors, as JSON: they may be anybody's."""
        line = msgspec.to_builtins(record)
        self.run.append(line)
        for monitor in self.monitors:
            monitor.record(line)
