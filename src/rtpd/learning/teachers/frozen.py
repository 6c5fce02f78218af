"""A pretrained teacher that learns no more, for two-stage distillation (Rusu et al. 2015)."""

from dataclasses import dataclass

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Int, PRNGKeyArray

from rtpd.learning import replay as ring
from rtpd.learning.schedule import UpdateSchedule
from rtpd.learning.teachers.base import Teacher
from rtpd.learning.teachers.state import Rollout, TeacherState, TeacherUpdate
from rtpd.learning.train_state import TrainState, copied, named_key
from rtpd.networks.heads import ValueHead
from rtpd.networks.policy import HostPolicy, Policy
from rtpd.networks.qnet import QNet
from rtpd.types import Preprocess


@dataclass(frozen=True)
class FrozenTeacher(Teacher):
    """Plays and answers; its students learn from a replay of its play, arXiv:1511.06295.

    Whatever it once was trained by, it comes with its own net, head and preprocessing (`Policy`).
    """

    policy: Policy | HostPolicy

    @property
    def metrics(self) -> tuple[str, ...]:
        """What `update` measures: its Q-values, where it has any."""
        return self.resting_metrics

    @property
    def head(self) -> ValueHead:
        """From the outputs of the teacher's net to its Q-values, or to its logits."""
        return self.policy.head

    @property
    def schedule(self) -> UpdateSchedule:
        """When its students learn."""
        return UpdateSchedule(self.config, on_policy=False)

    @property
    def n_step(self) -> int:
        """Steps of a transition."""
        return self.config.teacher.n_step

    @property
    def needs_next(self) -> bool:
        """As where it was trained."""
        return True

    @property
    def _newest_steps(self) -> int:
        """A frozen teacher's answers do not age: all of the replay."""
        return self.config.replay.capacity

    def init(self, key: PRNGKeyArray, preprocess: Preprocess) -> TeacherState:
        """The pretrained weights, which no optimiser moves."""
        assert isinstance(self.policy, Policy)
        net, own = copied((self.policy.net, self.policy.preprocess))
        assert isinstance(net, QNet)
        key = named_key(key, "updates")
        return TeacherState(TrainState(net, None), None, preprocess, key, teacher_preprocess=own)

    def plan(self, state: TeacherState, replay: ring.Replay) -> None:
        """Nothing: students draw from the replay."""

    def update(
        self, state: TeacherState, updates: Int[Array, ""], replay: ring.Replay,
        rollout: Rollout | None = None,
    ) -> TeacherUpdate:  # fmt: skip
        """What its students learn from; the teacher stays as it is."""
        next_key, *keys = jr.split(state.key, len(self._wanted) + 1)
        batches = [
            self._replayed(wanted, state, replay, key)
            for wanted, key in zip(self._wanted, keys, strict=True)
        ]
        values = [
            jnp.mean(jnp.max(target.logits, axis=1))
            for by_kind in batches
            for batch in by_kind.values()
            for target in batch.target.values()
        ]
        q = jnp.mean(jnp.stack(values)) if values else jnp.zeros(())
        state = eqx.tree_at(lambda s: s.key, state, next_key)
        return TeacherUpdate(state, batches, dict.fromkeys(self.metrics, q))
