"""Teachers that learn: they descend a loss, and their students follow on their own minibatch."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import jax.random as jr
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from rtpd.config.settings import Follow
from rtpd.learning import replay as ring
from rtpd.learning.distillation import entropy
from rtpd.learning.schedule import UpdateSchedule
from rtpd.learning.teachers.base import Algorithm, Teacher
from rtpd.learning.teachers.state import BestNet, TeacherState
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
from rtpd.types import Preprocess

TeacherLoss = Callable[[qnet.QNet], tuple[Array, tuple[Array, Array | None]]]
"""The mean loss of a minibatch; the net's outputs [B Q], and the size of its TD errors [B], which
prioritise a replay: None where there are none."""


@dataclass(frozen=True)
class LearningTeacher(Teacher):
    """What learning from a replay and from rollouts have in common."""

    algorithm: Algorithm

    @property
    def head(self) -> ValueHead:
        """From the outputs of the teacher's net to its Q-values."""
        return self.algorithm.head

    @property
    def metrics(self) -> tuple[str, ...]:
        """What `update` measures: of a policy its mean entropy, else the mean greedy value."""
        return ("loss", "q" if self.head.gives_q else "entropy")

    @property
    def samples(self) -> bool:
        """Whether it acts by sampling a policy, rather than epsilon-greedily."""
        return not self.head.gives_q

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
        net_key = named_key(key, "teacher")
        net = architectures.build(
            td.net, spec, atoms * spec.num_actions + self.head.extra, key=net_key,
            dueling=td.dueling, atoms=atoms, norm=self.algorithm.layer_norm, noisy=td.noisy,
        )  # fmt: skip
        net = self.algorithm.initialised(net, net_key)
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
    ) -> tuple[TrainState, Float[Array, "B A"], Metrics, Float[Array, " B"] | None]:
        """Descend; also the Q-values or logits before it, metrics, and the size of TD errors."""
        (value, (outputs, td_error)), gradient = jax.value_and_grad(loss, has_aux=True)(train.net)
        net, opt_state = descend(self._rule, train, gradient)
        ema = train.ema
        if ema is not None:
            ema = update_ema(ema, net, self.config.teacher.ema_decay)
        q = jax.vmap(self.head)(outputs)
        said = jnp.max(q, axis=1) if self.head.gives_q else jax.vmap(entropy)(q)
        metrics = dict(zip(self.metrics, (value, jnp.mean(said)), strict=True))
        return TrainState(net, opt_state, ema), q, metrics, td_error

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
