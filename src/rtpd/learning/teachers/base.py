"""What every teacher does: begin, learn from a minibatch, and tell its students what it answers.

One `Teacher` for each game of a run. It holds no arrays: `TeacherState` does. An update ends in
distillation batches, states with the teacher's answers there, which are all that students ever see
of it. How a minibatch is found and learnt from is the subclass's: `off_policy` from a replay,
`on_policy` from rollouts, `frozen` not at all.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, Int, PRNGKeyArray

from rtpd.config.settings import Config, Follow, Targets
from rtpd.learning import replay as ring
from rtpd.learning.distillation import LOSSES
from rtpd.learning.schedule import UpdateSchedule
from rtpd.learning.student_spec import StudentSpec
from rtpd.learning.teachers.state import Rollout, TeacherState, TeacherUpdate
from rtpd.learning.train_state import (
    DistillationBatch,
    Minibatch,
    Target,
)
from rtpd.networks import qnet
from rtpd.networks.heads import ValueHead
from rtpd.system import compute
from rtpd.types import EnvSpec, Preprocess, Transitions


class Algorithm(ABC):
    """The mathematics of one paper, per example; one line of `TEACHERS`."""

    on_policy: ClassVar[bool]  # learns from rollouts rather than from a replay
    layer_norm: ClassVar[bool] = False  # of its net's hidden dense layer

    @property
    @abstractmethod
    def head(self) -> ValueHead:
        """How Q-values are read from its net's outputs."""

    @abstractmethod
    def teacher(
        self, config: Config, spec: EnvSpec, students: tuple[StudentSpec, ...]
    ) -> "Teacher":
        """The teacher of one game that learns so."""

    def initialised(self, net: qnet.QNet, key: PRNGKeyArray) -> qnet.QNet:
        """A fresh net with the weights that it begins with: as it is, if the paper asks no more."""
        del key
        return net


@dataclass(frozen=True)
class Teacher(ABC):
    """The teacher of one game: what `config`, the game's `spec` and its students make of it.

    Equal for equal settings, since jit compiles anew for an object that it does not know.
    """

    config: Config
    spec: EnvSpec
    students: tuple[StudentSpec, ...]

    @property
    @abstractmethod
    def metrics(self) -> tuple[str, ...]:
        """What `update` measures."""

    @property
    def resting_metrics(self) -> tuple[str, ...]:
        """What is measured of a teacher that learns no more: its Q-values, where it has any."""
        return ("q",) if self.head.gives_q else ()

    @property
    def samples(self) -> bool:
        """Whether it acts by sampling a policy, rather than epsilon-greedily."""
        return False

    @property
    @abstractmethod
    def head(self) -> ValueHead:
        """From the outputs of the teacher's net to its Q-values."""

    @property
    @abstractmethod
    def schedule(self) -> UpdateSchedule:
        """When it learns."""

    @property
    @abstractmethod
    def n_step(self) -> int:
        """Steps of a transition."""

    @property
    @abstractmethod
    def needs_next(self) -> bool:
        """Whether the teacher itself looks at where a transition leads to."""

    @abstractmethod
    def init(self, key: PRNGKeyArray, preprocess: Preprocess) -> TeacherState:
        """A fresh teacher; what it draws from does not depend on which other games there are."""

    @abstractmethod
    def plan(self, state: TeacherState, replay: ring.Replay) -> Rollout | None:
        """What the next `updates_per_rollout` updates learn from; None: from the replay."""

    @abstractmethod
    def update(
        self, state: TeacherState, updates: Int[Array, ""], replay: ring.Replay,
        rollout: Rollout | None,
    ) -> TeacherUpdate:  # fmt: skip
        """One update of the teacher, and what its students learn from it.

        `updates` counts those made before; `rollout` is what `plan` gave.
        """

    def preprocessed(self, preprocess: Preprocess, obs: Array) -> Float[Array, "B ..."]:
        """What nets see of raw frames [B K *F], in the dtype that they compute in."""
        return preprocess(obs, compute.dtype(self.config.compute, is_image=self.spec.is_image))

    def diagnostic_batch(
        self, state: TeacherState, replay: ring.Replay, key: PRNGKeyArray, batch_size: int
    ) -> tuple[Float[Array, "B ..."], dict[Follow, Target]]:
        """Replayed states as students see them, and what these are to follow there."""
        batch = self.sample(replay, key, batch_size)
        x = self.preprocessed(state.preprocess, batch.obs)
        seen = x
        if state.teacher_preprocess is not None:
            seen = self.preprocessed(state.teacher_preprocess, batch.obs)
        return x, {whose: self._target(state, seen, whose) for whose in self._followed}

    def consolidate(self, state: TeacherState, replay: ring.Replay) -> TeacherUpdate:
        """What a teacher that learns no more has answered of late, for one student update.

        Its states are the newest of the replay, as many as the consolidation plays.
        """
        key, next_key = jr.split(state.key)
        steps = self.config.steps - self.schedule.consolidation_start
        batch = self._stored(state, replay, key, steps)
        logits = next(iter(batch.target.values())).logits
        best = jnp.sum(jnp.max(logits, axis=1) * batch.known)
        metrics = dict.fromkeys(self.resting_metrics, best / jnp.maximum(jnp.sum(batch.known), 1))
        state = eqx.tree_at(lambda s: s.key, state, next_key)
        return TeacherUpdate(state, [{"stored": batch}], metrics)

    def sample(
        self, replay: ring.Replay, key: PRNGKeyArray, batch_size: int | None = None
    ) -> Transitions:
        """A uniform minibatch of what this teacher learns from."""
        size = batch_size or self.config.replay.batch_size
        return ring.sample(replay, key, batch_size=size, **self.windows)

    @property
    def windows(self) -> dict[str, Any]:
        """What a transition is."""
        td = self.config.teacher
        return {
            "stack": self.spec.stack,
            "n_step": self.n_step,
            "gamma": td.gamma,
            "clip_reward": td.clip_rewards,
        }

    @property
    def _followed(self) -> list[Follow]:
        """Whose answers some student follows."""
        return sorted({student.settings.follow for student in self.students})

    @property
    def _wanted(self) -> list[list[Targets]]:
        """For each student update between two of the teacher's, which targets some learn from."""
        count = max((student.updates for student in self.students), default=0)
        return [
            sorted({s.settings.targets for s in self.students if s.updates > i})
            for i in range(count)
        ]

    @property
    def _newest_steps(self) -> int:
        """How far back stored answers are drawn from: as far as any of the students asks."""
        settings = [student.settings for student in self.students]
        return max(s.newest_steps for s in settings if s.targets == "stored")

    def _minibatch(self, state: TeacherState, batch: Transitions) -> Minibatch:
        """What the nets see of a batch, in memory once for all of them."""
        needed = self.needs_next or any(LOSSES[student.loss].td for student in self.students)
        ends = (batch.obs, batch.next_obs if needed else None)
        see = partial(self.preprocessed, state.preprocess)
        x, next_x = jax.lax.optimization_barrier(jax.tree.map(see, ends))
        return Minibatch(x, next_x, batch.action, batch.reward, batch.discount)

    def _replayed(
        self, wanted: Sequence[Targets], state: TeacherState, replay: ring.Replay,
        key: PRNGKeyArray,
    ) -> dict[Targets, DistillationBatch]:  # fmt: skip
        """A minibatch of the replay for each of the targets that are wanted."""
        found: dict[Targets, DistillationBatch] = {}
        if "fresh" in wanted:
            batch = self.sample(replay, key)
            seen = self._minibatch(state, batch)
            x = seen.x
            if state.teacher_preprocess is not None:
                x = self.preprocessed(state.teacher_preprocess, batch.obs)
            targets = {whose: self._target(state, x, whose) for whose in self._followed}
            found["fresh"] = DistillationBatch(seen, jax.lax.stop_gradient(targets))
        if "stored" in wanted:
            found["stored"] = self._stored(state, replay, key, self._newest_steps)
        return found

    def _stored(
        self, state: TeacherState, replay: ring.Replay, key: PRNGKeyArray, newest_steps: int
    ) -> DistillationBatch:
        """States of the newest steps, and what the teacher answered when it acted there."""
        windows, size = self.windows, self.config.replay.batch_size
        newest = max(-(-newest_steps // self.config.num_envs), self.n_step + 8)
        row, env = ring.draw(replay, key, size, windows["stack"], self.n_step, newest)
        answered = jnp.asarray(replay.q)[row, env]
        known = jnp.isfinite(answered[:, 0])
        target = self._as_target(jnp.where(known[:, None], answered, 0.0))
        batch = self._minibatch(state, ring.transitions(replay, row, env, **windows))
        targets = dict.fromkeys(self._followed, target)
        return DistillationBatch(batch, targets, known.astype(jnp.float32))

    def _target(self, state: TeacherState, x: Array, whose: Follow) -> Target:
        """What some students follow, on states as the teacher sees them."""
        train, best = state.train, state.best
        net = train.acting if whose == "ema" else train.net
        if whose == "best" and best is not None:
            latest = qnet.without_noise(net)
            net = jax.tree.map(partial(jnp.where, best.known), best.net, latest)
        return self._as_target(self.q_values(net, x))

    def _as_target(self, answers: Float[Array, "B A"]) -> Target:
        return Target(answers, answers if self.head.gives_q else None)

    def q_values(self, net: qnet.QNet, x: Array) -> Float[Array, "B A"]:
        """Q-values, or logits, of a teacher's net on states as it sees them."""
        return jax.vmap(self.head)(net(x))
