"""What a run writes down and tells while it goes on: metrics, warnings, evaluations."""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from typing import Any

import msgspec
import numpy as np

from rtpd.agents.evaluate import compare, play, untaught_of
from rtpd.config.settings import Config
from rtpd.envs import is_atari
from rtpd.envs.options import IMPORT, modules_of
from rtpd.errors import typed
from rtpd.learning.teachers import schedule_of
from rtpd.networks.policy import Policy
from rtpd.storage.agent_id import TEACHER, AgentId
from rtpd.storage.records import AgentMetrics, EvalRecord, Record, Score, TrainRecord
from rtpd.storage.run_folder import Run
from rtpd.system.formatting import count
from rtpd.system.interrupt import PATIENCE_SECONDS
from rtpd.system.memory import gigabytes, peak_bytes, program_bytes
from rtpd.training.monitor import Monitor

RECENT_EPISODES = 20
TICK_SECONDS = 0.2  # between two looks at whether to hurry
COLLAPSED_SPREAD = 0.01
PATIENCE_UPDATES = 5_000  # early on the teacher itself may not tell states apart

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
        self._warned: set[str] = set()
        self._evaluating: Future[Rows] | None = None
        self._give_up = threading.Event()
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
                *self._note_of_consolidation(),
            ],
        }
        for monitor in self.monitors:
            monitor.start(info)

    def _note_of_consolidation(self) -> list[str]:
        schedule, consolidation = schedule_of(self.config), self.config.consolidation
        if not schedule.consolidates:
            return []
        return [
            f"from step {schedule.consolidation_start:,} on the teacher rests: "
            f"{count(consolidation.updates, 'student update')} in the place of each of its own"
        ]

    def sum_up(self, status: str, step: int, seconds: float, rows: Rows) -> dict[str, Any]:
        """Tell how it went and what to type next; `rows` is the final evaluation, if any."""
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
            "peak_bytes": peak_bytes(),
            "agents": {name: about | rows.get(name, {}) for name, about in agents.items()},
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

    def warn_once(self, text: str) -> None:
        """The same, but never the same twice."""
        if text not in self._warned:
            self._warned.add(text)
            self.warn(text)

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
            if row.spread is not None:
                self._warn_if_collapsed(name, row, updates)
                self._warn_if_constant(str(AgentId.parse(name).teacher), row, updates)

    def _metrics(self, means: Mapping[str, dict[str, float]]) -> dict[str, AgentMetrics]:
        """What a line of training says of every agent: its means, and its return if it plays."""
        found = {name: AgentMetrics(**row) for name, row in means.items()}
        for name, recent in self.recent.items():
            played = float(np.mean(recent)) if recent else None
            found.setdefault(name, AgentMetrics()).played = played
        return found

    def begin_evaluation(self, policies: dict[str, Policy], episodes: int, step: int) -> None:
        """Let agents play in a thread of their own, after `end_evaluation` of the one before."""
        found, seconds = Future[Rows](), self.seconds
        self._evaluating = found

        def work() -> None:
            try:
                rows = self.evaluation(policies, episodes, step, seconds, self._give_up.is_set)
                found.set_result(rows)
            except BaseException as error:  # for `end_evaluation` to raise
                found.set_exception(error)

        # A daemon: an env that never returns must not keep the process from ending.
        threading.Thread(target=work, name="evaluation", daemon=True).start()

    def end_evaluation(self, hurry: Callable[[], bool] = lambda: False) -> Rows | None:
        """Wait for the evaluation going on, if any, for its rows; raises what went wrong in it.

        Once `hurry()` holds, only for a few seconds; None if it is not over then.
        """
        evaluating, self._evaluating = self._evaluating, None
        if evaluating is None:
            return None
        while not evaluating.done() and not hurry():
            wait([evaluating], TICK_SECONDS)
        if not wait([evaluating], PATIENCE_SECONDS).done:
            self._give_up.set()
            self.warn("an evaluation was given up, since the run is to end")
            wait([evaluating], 2 * PATIENCE_SECONDS)  # to leave JAX in order, if it still answers
            return None
        given_up = isinstance(evaluating.exception(), KeyboardInterrupt)
        return None if given_up else evaluating.result()

    def evaluation(
        self, policies: dict[str, Policy], episodes: int, step: int, seconds: float,
        stop: Callable[[], bool] = lambda: False,
    ) -> Rows:  # fmt: skip
        """Play and write a line; `seconds` is the time of training when the agents were copied.

        KeyboardInterrupt once `stop()` holds.
        """
        settings = self.config.evaluation
        results = play(
            policies,
            self.config.environment,
            episodes=episodes,
            epsilon=settings.epsilon,
            seed=self.config.seed + 1,
            stop=stop,
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
        self._give_up.set()
        if self._evaluating:
            wait([self._evaluating], 3 * PATIENCE_SECONDS)
        for monitor in self.monitors:
            monitor.close()

    def _record(self, record: Record) -> None:
        """Write a line and tell the monitors, as JSON: they may be anybody's."""
        line = msgspec.to_builtins(record)
        self.run.append(line)
        for monitor in self.monitors:
            monitor.record(line)

    def warn_if_clipped(self, env: str, reward: np.ndarray) -> None:
        """Once per env outside Atari, at the first reward [E] whose size learning does not see."""
        td = not self.config.teacher.is_frozen or any(":kl-td" in s for s in self.config.students)
        if not (td and self.config.teacher.clip_rewards) or is_atari(env) or env in self._warned:
            return
        largest = reward[np.abs(reward).argmax()]
        if abs(largest) > 1:
            self._warned.add(env)
            self.warn(
                f"{env} gives a reward of {largest:g}, and rewards are clipped to -1..1 for "
                "learning: --teacher.no-clip-rewards learns from their sizes"
            )

    def _warn_if_constant(self, teacher: str, row: AgentMetrics, updates: int) -> None:
        """Once per teacher: the same action in every state, so that nothing else can be learnt."""
        early = updates < PATIENCE_UPDATES and not self.config.teacher.is_frozen
        if (row.constant_agreement or 0.0) < 1.0 or early or teacher in self._warned:
            return
        self._warned.add(teacher)
        self.warn(
            f"{teacher} takes the same action in all states looked at: students learn no more"
        )

    def _warn_if_collapsed(self, name: str, row: AgentMetrics, updates: int) -> None:
        """Once per student: the same output for every state, long after the start."""
        flat = row.spread is not None and not row.spread >= COLLAPSED_SPREAD
        if not flat or updates < PATIENCE_UPDATES or name in self._warned:
            return
        self._warned.add(name)
        self.warn(
            f"{name} has collapsed: {100 * row.spread:.2g} % of its outputs' variance lies "
            f"between states, advantage kept {row.advantage_kept:.2f} (a constant policy has "
            f"{row.constant_advantage_kept:.2f}), dead units {100 * (row.dead or 0):.0f} %; "
            "see docs/architecture.md, 'When a student collapses'"
        )
