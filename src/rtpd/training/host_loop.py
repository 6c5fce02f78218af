"""The host loop: the only place where envs, replay, learner and actor meet.

One iteration steps E envs of every game once: send the actions, dispatch the updates that are due
while the emulators run, receive, store the finished row, choose the next actions.
"""

from collections.abc import Mapping

from rtpd.agents import acting
from rtpd.config.settings import Config
from rtpd.learning.replay import Replay
from rtpd.learning.update import Learner
from rtpd.networks.policy import HostPolicy, Policy
from rtpd.system.interrupt import Interruption
from rtpd.training.checkpointing import Progress
from rtpd.training.collector import Collector
from rtpd.training.compiled import CompiledLearner
from rtpd.types import VectorEnv


class HostLoop:
    """Envs, replays and the compiled learner of one run, stepped together; it writes nothing."""

    def __init__(
        self,
        settings: Config,
        envs: Mapping[str, VectorEnv],
        policies: Mapping[str, Policy | HostPolicy] | None = None,
    ) -> None:
        """The state at step 0 of the games in `envs`; `policies` are those of frozen teachers."""
        self.config = settings
        specs = {game: env.spec for game, env in envs.items()}
        self.learner = Learner(settings, specs, policies or {})
        teachers, slices = self.learner.teachers, self.learner.action_slices
        self.collectors = {
            game: Collector(settings, env, teachers[game], slices[game])
            for game, env in envs.items()
        }
        self.progress = Progress(learn_from=settings.replay.warmup_steps)
        self.compiled = CompiledLearner(self.learner, self.replays)
        self.stop, self.epsilon = Interruption(), 1.0

    @property
    def replays(self) -> dict[str, Replay]:
        """What each game's teacher and students learn from."""
        return {game: collector.replay for game, collector in self.collectors.items()}

    def players(self) -> list[str]:
        """Every agent that drives some envs, by the name it has in the run."""
        return [
            self.learner.agent(game, n) for game, c in self.collectors.items() for n in c.actors
        ]

    @property
    def learns_next(self) -> bool:
        """Whether updates are due in the next iteration, or have been before."""
        return self.progress.step + self.config.num_envs >= self.progress.learn_from

    def step(self, gone: float = 0.0) -> list[tuple[str, float]]:
        """Step every env of every game once and learn what is due.

        Args:
            gone: the share of --minutes that has gone by.

        Returns:
            The agent and the unclipped return of each episode that ended.
        """
        ended: list[tuple[str, float]] = []
        with self.stop.others():
            for collector in self.collectors.values():
                collector.send()
        if self.learns_next:
            self._learn(gone)
        for game, collector in self.collectors.items():
            with self.stop.others():
                returns = collector.receive()
            ended += [(self.learner.agent(game, name), total) for name, total in returns]
            collector.store()
        self.progress.step += self.config.num_envs
        self.choose()
        return ended

    def _learn(self, gone: float) -> None:
        """Dispatch the updates that are due after this step; they run while the emulators do."""
        progress = self.progress
        if not progress.warmed_up:  # freeze what frames are centred on and scaled by
            found = {game: c.preprocess() for game, c in self.collectors.items()}
            self.compiled.set_preprocess(found)
            progress.warmed_up = True
        learning = progress.step + self.config.num_envs - progress.learn_from
        due = self.learner.schedule.updates_due(learning)
        for _ in range(progress.updates_before + due - progress.updates):
            self.update(gone)

    def update(self, gone: float = 0.0) -> None:
        """Dispatch one update of every teacher and every student; of students while those rest."""
        progress = self.progress
        if progress.consolidating:
            self.compiled.consolidate(self.replays)
        else:
            made = progress.updates - progress.updates_before
            if made % self.learner.schedule.updates_per_rollout == 0:
                self.compiled.plan(self.replays)
            priorities = self.compiled.update(self.replays, progress.updates, gone)
            for game, collector in self.collectors.items():
                collector.replay = collector.replay._replace(priority=priorities[game])
        progress.updates += 1

    def choose(self) -> None:
        """Choose the next actions: uniformly random in the warm-up, then as the teacher explores.

        A pretrained teacher plays from the start.
        """
        explore, step = self.config.exploration, self.progress.step
        self.epsilon = 1.0
        if self.progress.warmed_up or self.learner.policies:
            self.epsilon = acting.linear_epsilon(
                step, start=explore.start, end=explore.end, decay_steps=explore.decay_steps
            )
        state = self.compiled.state
        for game, collector in self.collectors.items():
            collector.choose(state.teachers[game], state.students, step, self.epsilon)

    def restart_envs(self) -> None:
        """Start every env anew."""
        with self.stop.others():
            for collector in self.collectors.values():
                collector.restart(self.progress.step)
        self.choose()
