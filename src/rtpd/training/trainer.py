"""A run in progress: the host loop from its start to its end, evaluated, logged and saved.

A checkpoint is a boundary: the emulators' state cannot be saved, so the replay is sealed and the
envs start anew from a seed of (seed, step), in a run that goes on as in one that is resumed.
"""

import math
import time
from collections.abc import Mapping
from typing import Any

import jax

from rtpd.agents import store
from rtpd.agents.evaluate import random_scores
from rtpd.config.loading import to_dict
from rtpd.config.settings import Config
from rtpd.envs.baselines import has_baseline
from rtpd.networks import qnet
from rtpd.networks.policy import HostPolicy, Policy
from rtpd.storage.agent_id import AgentId
from rtpd.storage.provenance import now
from rtpd.storage.run_folder import Run
from rtpd.system import memory
from rtpd.system.formatting import count
from rtpd.system.interrupt import PATIENCE_SECONDS, StuckError
from rtpd.training import checkpointing, divergence, snapshots
from rtpd.training.checkpointing import Progress
from rtpd.training.host_loop import HostLoop
from rtpd.training.logger import Rows, RunLogger
from rtpd.training.monitor import Monitor
from rtpd.types import VectorEnv


class Trainer:
    """One run in progress."""

    def __init__(
        self, run: Run, settings: Config, envs: Mapping[str, VectorEnv], monitors: list[Monitor],
        policies: Mapping[str, Policy | HostPolicy] | None = None,
    ) -> None:  # fmt: skip
        """Build the state at step 0, of the games in `envs`; `restore` replaces it.

        `policies` are those of frozen teachers.
        """
        self.folder, self.config = run, settings
        self.loop = HostLoop(settings, envs, policies)
        self.learner, self.compiled = self.loop.learner, self.loop.compiled
        self.collectors, self.stop = self.loop.collectors, self.loop.stop
        frames = next(iter(self.learner.specs.values())).frames_per_step
        self.logger = RunLogger(run, settings, frames, self.loop.players(), monitors)
        self.saved_step = -1
        self._evaluated: dict[str, qnet.QNet] = {}  # each game's teacher, where the best counts

    @property
    def progress(self) -> Progress:
        """What has been done so far."""
        return self.loop.progress

    def run(self) -> dict[str, Any]:
        """Run to the end, or until interrupted; saves either way."""
        replay_bytes = sum(leaf.nbytes for leaf in jax.tree.leaves(self.loop.replays))
        try:
            with self.stop.listening(self._interrupt):
                self.logger.announce(
                    self.progress.step, replay_bytes, self.learner.schedule.cadence
                )
                self.logger.start(self.progress.step, self.progress.seconds)
                if self.config.steps < self.progress.learn_from:
                    self.logger.warn(
                        f"--steps {self.config.steps:,} ends before learning begins, which is at "
                        f"step {self.progress.learn_from:,} (--replay.warmup-steps): nothing will "
                        "be learnt"
                    )
                self._play()
                return self._finish()
        finally:
            self.logger.close()

    def _play(self) -> None:
        """Step by step until it is over."""
        try:
            self._play_randomly()
            self._restart_envs()
            if not self.progress.warmed_up:
                plays = "the teacher's" if self.learner.policies else "uniformly random"
                self.logger.phase(f"warm-up: {plays} play")
            while not self._over():
                self.step()
        except StuckError:  # the step in progress is dropped, as at every boundary
            late = f"has not answered for {PATIENCE_SECONDS:g} s"
            self.logger.warn(f"{self.config.env} {late}: saving what it has played before")

    def _restart_envs(self) -> None:
        """The boundary; what their envs say of it is told once."""
        self.loop.restart_envs()
        for collector in self.collectors.values():
            for text in getattr(collector.env, "warnings", ()):
                self.logger.health.warn_once(f"{collector.spec.name} {text}")

    def _play_randomly(self) -> None:
        """Measure what random play scores, once, where the literature does not tell."""
        games = {collector.spec.name for collector in self.collectors.values()}
        known = self.folder.random_scores
        if all(game in known or has_baseline(game) for game in games):
            return
        self.logger.phase("random play, from which shares of the teacher are counted")
        with self.stop.others():
            found = random_scores(
                games, self.config.environment, known=known, seed=self.config.seed,
                stop=lambda: self.stop.asked,
            )  # fmt: skip
        self.folder.note(random_scores=found)

    def step(self) -> None:
        """An iteration of the loop, and what falls due before it and after it."""
        progress, before = self.progress, self.progress.step
        # Here rather than at the end, so that a resumed run evaluates what the first one would.
        if not progress.consolidating and self._may_consolidate(self.logger.seconds):
            self._begin_consolidation()
        elif progress.warmed_up and self._due(self.config.evaluation.period_steps, before):
            self._begin_evaluation(self._policies(), self.config.evaluation.episodes)
        if not progress.warmed_up and self.loop.learns_next:
            self.logger.phase("compiling the update")
        for agent, total in self.loop.step(self.learner.schedule.gone(self.logger.seconds)):
            self.logger.book(agent, total)
        for collector in self.collectors.values():
            self.logger.health.check_rewards(collector.spec.name, collector.timestep.reward)
        after = progress.step
        if self._due(self.config.log_steps, after):
            self._log()
        if self._due(self.config.checkpoint_steps, after) and after < self.config.steps:
            self._save()
            self._restart_envs()
            self.logger.phase("training")

    def _begin_evaluation(self, policies: dict[str, Policy | HostPolicy], episodes: int) -> None:
        """Once the one before is over; not if the run is to end. Who plays in it is saved."""
        self._end_evaluation()
        if not self.stop.asked:
            divergence.check_weights(self.progress.step, self.compiled.trained)
            self._save_agents(policies)
            self._evaluated = snapshots.teachers_to_rank(self.compiled.state)
            self.logger.begin_evaluation(policies, episodes, self.progress.step)

    def _may_consolidate(self, seconds: float) -> bool:
        """Whether the last of the run's steps or minutes have begun, in which its teachers rest."""
        schedule, progress, settings = self.learner.schedule, self.progress, self.config
        late = schedule.gone(seconds) >= 1 - settings.consolidation.share
        ending = progress.step >= schedule.consolidation_start or late
        return schedule.consolidates and progress.warmed_up and ending

    def _begin_consolidation(self) -> None:
        """Let the teachers rest from here on, and see how far real time alone has come."""
        self._log()  # no mean reaches over this step
        self.progress.consolidating = True
        self.compiled.clear_sums(consolidating=True)
        students = {
            name: agent
            for name, agent in self._policies().items()
            if not AgentId.parse(name).is_teacher
        }
        self._begin_evaluation(students, self.config.evaluation.final_episodes)
        self.logger.phase("the teacher rests, its students go on")

    def _due(self, period: int, step: int) -> bool:
        """Whether the iteration that led to `step` passed a multiple of `period`; never for 0."""
        return bool(period) and (step - self.config.num_envs) // period < step // period

    def _over(self) -> bool:
        late = self.learner.schedule.gone(self.logger.seconds) >= 1
        return self.stop.asked or late or self.progress.step >= self.config.steps

    def _interrupt(self) -> None:
        self.logger.phase("interrupted: saving (once more stops at once)")

    def _log(self) -> None:
        """Write a line of metrics: means since the last one, and how the students follow."""
        progress, means = self.progress, self.compiled.means()
        self.compiled.clear_sums(consolidating=progress.consolidating)
        if means and self.compiled.state.students:
            for name, row in self.compiled.following(self.loop.replays, progress.step).items():
                means.setdefault(name, {}).update(row)
        self.logger.training(
            progress.step, self.loop.epsilon, progress.updates, means,
            consolidating=progress.consolidating,
        )  # fmt: skip
        divergence.check_losses(progress.step, means)

    def _policies(self) -> dict[str, Policy | HostPolicy]:
        """Copies of all agents as they are now."""
        return snapshots.policies(
            self.learner,
            self.compiled.state,
            environment=to_dict(self.config)["environment"],
            seed=self.config.seed,
            step=self.progress.step,
            updates=self.progress.updates,
            commit=self.folder.manifest.get("commit"),
        )

    def _end_evaluation(self) -> None:
        """Wait for the evaluation going on, if any, and keep the best teachers if asked.

        Once a stop was asked for, not for long: it may be given up.
        """
        rows = self.logger.end_evaluation(lambda: self.stop.asked)
        if not rows:
            return
        for game, net in self._evaluated.items():
            name, best = self.learner.agent(game, "teacher"), self.progress.best
            if rows[name]["mean"] > best.get(name, -math.inf):
                best[name] = rows[name]["mean"]
                self.compiled.follow_best(game, net)

    def _evaluate_finally(self) -> Rows:
        """The last evaluation of all agents; nothing if it is interrupted."""
        episodes = self.config.evaluation.final_episodes
        self.logger.phase(f"final evaluation: {count(episodes, 'episode')} an agent")
        try:
            with self.stop.others():
                return self.logger.evaluation(
                    self._policies(), episodes, self.progress.step, self.progress.seconds,
                    stop=lambda: self.stop.asked, tell=True,
                )  # fmt: skip
        except (KeyboardInterrupt, StuckError):
            if not self.stop.asked:
                raise
            return {}

    def _save(self) -> None:
        """Write a checkpoint and the agents. Whoever goes on from it restarts the envs."""
        # A line of metrics first, so that means never reach over a checkpoint: the sums they come
        # from are not saved. What has diverged is not saved either.
        self._log()
        divergence.check_weights(self.progress.step, self.compiled.trained)
        self._end_evaluation()
        self.logger.phase("saving a checkpoint")
        for collector in self.collectors.values():
            collector.seal()
        progress, logger = self.progress, self.logger
        progress.seconds, progress.episodes = logger.seconds, logger.episodes
        progress.recent_returns = {name: list(found) for name, found in logger.recent.items()}
        if progress.step != self.saved_step:
            checkpointing.write(self.folder, self.config, progress, self._saved())
            self.saved_step = progress.step
        self._save_agents(self._policies())
        self.folder.note(step=progress.step, saved=now())
        checkpointing.remove_old(self.folder, progress.step)

    def _save_agents(self, policies: dict[str, Policy | HostPolicy]) -> None:
        """Write agents, to be seen at play and evaluated from now on."""
        for name, agent in policies.items():
            store.save(self.folder.agent_path(name), agent)

    def _saved(self) -> dict[str, Any]:
        """The arrays of a checkpoint."""
        learning = {"state": self.compiled.state, "rollout": self.compiled.rollout}
        return learning | ({"replay": self.loop.replays} if self.config.replay.save else {})

    def restore(self) -> None:
        """Take up the newest checkpoint that is whole and of this run; others are named and left.

        A run that was stopped before its first one begins anew.
        """
        warn = self.logger.warn
        found = checkpointing.read_newest(self.folder, self.config, self._saved(), warn)
        if found is None:
            self.folder.cut(lambda record: False)
            return
        tree, self.loop.progress = found
        self.compiled.state, self.compiled.rollout = tree["state"], tree["rollout"]
        # One that goes on for longer than it was to has its teacher learn again.
        rested = self.progress.consolidating
        self.progress.consolidating &= self._may_consolidate(self.progress.seconds)
        self.compiled.clear_sums(consolidating=self.progress.consolidating)
        self.saved_step = self.progress.step
        for name, recent in self.progress.recent_returns.items():
            self.logger.recent[name].extend(recent)
        self.logger.episodes = self.progress.episodes
        reached = self.progress.step
        if self.config.replay.save:
            for game, collector in self.collectors.items():
                collector.replay = tree["replay"][game]
            if rested and not self.progress.consolidating:
                # The rollout of before the rest has been written over.
                self.compiled.plan(self.loop.replays)
        else:  # the agent's own play refills it before learning goes on
            self.progress.learn_from = reached + self.config.replay.warmup_steps
            self.progress.updates_before = self.progress.updates
        # An evaluation that is due at the checkpoint's own step is played again, see `step`; so
        # is a final one that did not finish the run.
        again = self._due(self.config.evaluation.period_steps, reached)
        finished = self.folder.manifest.get("status") == "finished"
        kept = ("train", "rollback") + (("eval",) if finished and not again else ())
        checkpointing.truncate_metrics(self.folder, self.progress, kept, warn)

    def _finish(self) -> dict[str, Any]:
        """Save, evaluate unless interrupted, and sum up."""
        progress = self.progress
        self._save()
        begun = time.monotonic()
        rows = {} if self.stop.asked else self._evaluate_finally()
        status = "finished" if rows else "interrupted"
        played = time.monotonic() - begun if rows else 0.0
        seconds, peak = round(progress.seconds, 1), memory.peak_bytes()
        self.folder.note(status=status, ended=now(), seconds=seconds, peak_bytes=peak)
        return self.logger.sum_up(status, progress.step, progress.seconds, rows, played)
