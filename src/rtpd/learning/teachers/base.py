"""What every teacher does: begin, learn from a minibatch, and tell its students what it answers.

One `Teacher` for each game of a run. It holds no arrays: `TeacherState` does. An update ends in
distillation batches, states with the teacher's answers there, which are all that students ever see
of it. How a minibatch is found and learnt from is the subclass's: `off_policy` from a replay,
`on_policy` from rollouts, `frozen` not at all.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import optax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from rtpd.config.settings import Config, Follow, Targets
from rtpd.learning import replay as ring
from rtpd.learning.distillation import LOSSES
from rtpd.learning.schedule import UpdateSchedule
from rtpd.learning.student_spec import StudentSpec
from rtpd.learning.train_state import (
    DistillationBatch,
    DistillationBatches,
    Metrics,
    Minibatch,
    Target,
    TrainState,
    copied,
    descend,
    named_key,
    optimizer,
    update_ema,
)
from rtpd.networks import architectures, qnet
from rtpd.networks.heads import ValueHead
from rtpd.system import compute
from rtpd.types import EnvSpec, Preprocess, Transitions

TeacherLoss = Callable[[qnet.QNet], tuple[Array, tuple[Array, Array]]]
"""The mean loss of a minibatch; the net's outputs [B Q], and the size of its TD errors [B]."""


class Algorithm(ABC):
    """The mathematics of one paper, per example; one line of `TEACHERS`."""

    on_policy: ClassVar[bool]  # learns from rollouts rather than from a replay
    layer_norm: ClassVar[bool] = False  # of its net's hidden dense layer
    gives_q: ClassVar[bool] = True  # whether what it answers are Q-values

    @property
    @abstractmethod
    def head(self) -> ValueHead:
        """How Q-values are read from its net's outputs."""

    @abstractmethod
    def teacher(
        self, config: Config, spec: EnvSpec, students: tuple[StudentSpec, ...]
    ) -> "Teacher":
        """The teacher of one game that learns so."""


class Rollout(NamedTuple):
    """T steps of E envs in the replay, what they are learnt towards, and in which order."""

    rows: Int[Array, " T+1"]  # of the replay; the last one only bootstraps
    returns: Float[Array, " T*E"]  # env by env within a row
    order: Int[Array, "U B"]  # of U updates, indices into `returns`


class BestNet(NamedTuple):
    """The weights that scored best in an evaluation so far."""

    net: qnet.QNet  # without noise
    known: Bool[Array, ""]  # whether there has been an evaluation


class TeacherState(eqx.Module):
    """A teacher in training, and what its game looks like."""

    train: TrainState
    target: qnet.QNet | None  # bootstraps it, unless its own net does
    preprocess: Preprocess  # of its students, and its own unless it is frozen
    key: PRNGKeyArray
    best: BestNet | None = None  # what students follow, if they are to follow the best
    teacher_preprocess: Preprocess | None = None  # of a frozen teacher, which came with its own

    @property
    def sees(self) -> Preprocess:
        """What the teacher itself makes of frames."""
        return self.preprocess if self.teacher_preprocess is None else self.teacher_preprocess


class TeacherUpdate(NamedTuple):
    """What an update of a teacher leaves behind."""

    state: TeacherState
    batches: DistillationBatches
    metrics: Metrics
    priority: Float[Array, "C E"] | None = None  # of the replay, where it has any


@dataclass(frozen=True)
class Teacher(ABC):
    """The teacher of one game: what `config`, the game's `spec` and its students make of it.

    Equal for equal settings, since jit compiles anew for an object that it does not know.
    """

    config: Config
    spec: EnvSpec
    students: tuple[StudentSpec, ...]
    metrics: ClassVar[tuple[str, ...]] = ("loss", "q")  # what `update` measures

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
        metrics = {"q": best / jnp.maximum(jnp.sum(batch.known), 1)}
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
        settings = [student.settings for student in self.students]
        count = max((s.updates for s in settings), default=0)
        return [sorted({s.targets for s in settings if s.updates > i}) for i in range(count)]

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

    def _as_target(self, q: Float[Array, "B A"]) -> Target:
        return Target(q, q)

    def q_values(self, net: qnet.QNet, x: Array) -> Float[Array, "B A"]:
        """Q-values of a teacher's net on states as it sees them."""
        return jax.vmap(self.head)(net(x))


@dataclass(frozen=True)
class LearningTeacher(Teacher):
    """A teacher that learns: descends a loss, and lets students follow on its own minibatch."""

    algorithm: Algorithm

    @property
    def head(self) -> ValueHead:
        """From the outputs of the teacher's net to its Q-values."""
        return self.algorithm.head

    @property
    def schedule(self) -> UpdateSchedule:
        """When it learns."""
        return UpdateSchedule(self.config, self.algorithm.on_policy)

    @property
    def _rule(self) -> optax.GradientTransformation:
        return optimizer(self.config.teacher.optimizer, self.schedule.updates)

    def init(self, key: PRNGKeyArray, preprocess: Preprocess) -> TeacherState:
        """A fresh teacher; what it draws from does not depend on which other games there are."""
        td, spec, atoms = self.config.teacher, self.spec, self.head.atoms
        net = architectures.build(
            td.net, spec, atoms * spec.num_actions, key=named_key(key, "teacher"),
            dueling=td.dueling, atoms=atoms, norm=self.algorithm.layer_norm, noisy=td.noisy,
        )  # fmt: skip
        ema = copied(net) if td.ema_decay else None
        best = BestNet(copied(qnet.without_noise(net)), jnp.zeros((), bool))
        return TeacherState(
            TrainState(net, self._rule.init(net), ema),
            self._first_target(net),
            preprocess,
            named_key(key, "updates"),
            best if "best" in self._followed else None,
        )

    def _first_target(self, net: qnet.QNet) -> qnet.QNet | None:
        """The target net at the start, None for who bootstraps from its own."""
        return None

    def _improve(
        self, train: TrainState, loss: TeacherLoss
    ) -> tuple[TrainState, Float[Array, "B A"], Float[Array, " B"], Metrics]:
        """Descend; also the Q-values before it, the size of the TD errors, and metrics."""
        (value, (outputs, td_error)), gradient = jax.value_and_grad(loss, has_aux=True)(train.net)
        net, opt_state = descend(self._rule, train, gradient)
        ema = train.ema
        if ema is not None:
            ema = update_ema(ema, net, self.config.teacher.ema_decay)
        q = jax.vmap(self.head)(outputs)
        metrics = {"loss": value, "q": jnp.mean(jnp.max(q, axis=1))}
        return TrainState(net, opt_state, ema), q, td_error, metrics

    def _batches(
        self, state: TeacherState, batch: Minibatch, q: Float[Array, "B A"], replay: ring.Replay,
        key: PRNGKeyArray,
    ) -> DistillationBatches:  # fmt: skip
        """The teacher's own minibatch as far as it goes, then further ones of the replay."""
        # The barrier keeps XLA from fusing the students' work into the teacher's, which would
        # change the teacher's rounding with the number of students. Frames are behind one already.
        q = jax.lax.optimization_barrier(jax.lax.stop_gradient(q))
        size, found = self.config.replay.batch_size, []
        for i, wanted in enumerate(self._wanted):
            if i < max(1, len(q) // size):
                own = self._part(slice(i * size, (i + 1) * size), batch, q, state)
                found.append(dict.fromkeys(wanted, own))
            else:
                found.append(self._replayed(wanted, state, replay, jr.fold_in(key, i)))
        return found

    def _part(
        self, part: slice, batch: Minibatch, q: Array, state: TeacherState
    ) -> DistillationBatch:
        """A part of the teacher's own minibatch; its latest answers are there already."""
        batch, latest = jax.tree.map(lambda a: a[part], (batch, q))
        targets: dict[Follow, Target] = {
            whose: jax.lax.stop_gradient(self._target(state, batch.x, whose))
            for whose in self._followed
        }
        targets["latest"] = self._as_target(latest)
        return DistillationBatch(batch, targets)
