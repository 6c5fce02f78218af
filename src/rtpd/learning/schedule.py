"""When a teacher learns: updates and the steps between them, from the settings alone."""

from dataclasses import dataclass

from rtpd.config.settings import Config


@dataclass(frozen=True)
class UpdateSchedule:
    """How often the teacher of `config` learns. Steps are those of all envs of one game."""

    config: Config
    on_policy: bool  # whether the teacher learns from rollouts rather than from the replay

    @property
    def updates_per_rollout(self) -> int:
        """Updates of the teacher between two rollouts; 1 where it learns from the replay."""
        if not self.on_policy:
            return 1
        rollout = self.config.rollout
        return rollout.epochs * (self.rollout_steps // rollout.minibatch_size)

    @property
    def rollout_steps(self) -> int:
        """Steps of all envs in a rollout."""
        return self.config.rollout.steps * self.config.num_envs

    @property
    def steps_per_update(self) -> float:
        """Steps between two updates of the teacher, on average."""
        if not self.on_policy:
            return self.config.replay.steps_per_update
        return self.rollout_steps / self.updates_per_rollout

    @property
    def cadence(self) -> str:
        """How often the teacher learns and from what, for people."""
        if not self.on_policy:
            replay = self.config.replay
            return f"one update of batch {replay.batch_size} every {replay.steps_per_update} steps"
        rollout = self.config.rollout
        often = "once" if rollout.epochs == 1 else f"{rollout.epochs} times"
        return (
            f"rollouts of {rollout.steps} steps of every env, each learnt from {often} "
            f"in batches of {rollout.minibatch_size}"
        )

    def updates_due(self, steps: int) -> int:
        """Updates of the teacher that are due when `steps` have been made since the first one."""
        if not self.on_policy:
            return steps // self.config.replay.steps_per_update + 1
        return steps * self.updates_per_rollout // self.rollout_steps + 1

    @property
    def updates(self) -> int:
        """Updates of the teacher in the whole run."""
        return self._updates_until(self.consolidation_start)

    def late_start(self, share: float) -> int:
        """Updates of the teacher before the last `share` of them begins."""
        return self.updates - round(share * self.updates)

    def is_late(self, share: float, updates: int, gone: float) -> bool:
        """Whether the last `share` of its learning has begun, by its updates or by --minutes.

        `gone` is the share of --minutes that has gone by (`gone`), 0 without a limit.
        """
        learns = 1 - self.config.consolidation.share * self.consolidates
        return updates >= self.late_start(share) or gone >= (1 - share) * learns > 0

    def gone(self, seconds: float) -> float:
        """Share of --minutes that has gone by after so many seconds; 0 without a limit."""
        return seconds / (60 * self.config.minutes) if self.config.minutes else 0.0

    @property
    def consolidates(self) -> bool:
        """Whether the teacher rests at the end of the run, for its students to catch up."""
        return self.config.consolidation.share > 0 and self.config.students not in ((), ("none",))

    @property
    def consolidation_start(self) -> int:
        """The step from which the teacher learns no more."""
        steps = self.config.steps
        return steps - round(self.config.consolidation.share * steps) * self.consolidates

    @property
    def consolidation_updates(self) -> int:
        """Updates of each student while the teacher rests."""
        return self.config.consolidation.updates * (
            self._updates_until(self.config.steps) - self.updates
        )

    def _updates_until(self, step: int) -> int:
        return max(1, self.updates_due(step - self.config.replay.warmup_steps))
