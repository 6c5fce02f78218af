"""Teachers that learn from a replay: DQN (Mnih et al. 2015) and its kin, with a target net."""

from abc import abstractmethod
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, Int, PRNGKeyArray

from rtpd.config.settings import Config
from rtpd.learning import replay as ring
from rtpd.learning.priorities import draw_prioritised, updated_priorities
from rtpd.learning.student_spec import StudentSpec
from rtpd.learning.teachers.base import Algorithm, Teacher
from rtpd.learning.teachers.learning_teacher import LearningTeacher, TeacherLoss
from rtpd.learning.teachers.state import Rollout, TeacherState, TeacherUpdate
from rtpd.learning.train_state import Minibatch, copied, update_target
from rtpd.networks import qnet
from rtpd.networks.qnet import QNet
from rtpd.types import EnvSpec


class Bootstrap(NamedTuple):
    """Outputs that a target is made of, of one example; no gradient flows into them."""

    online: Float[Array, " Q"]  # the online net's outputs at the bootstrap state
    target: Float[Array, " Q"]  # the target net's outputs there
    current: Float[Array, " Q"] | None = None  # the target net's outputs at the state itself


class Transition(NamedTuple):
    """What was done in a state and what came of it, of one example."""

    action: Int[Array, ""]
    reward: Float[Array, ""]  # n-step
    discount: Float[Array, ""]  # gamma^n, or 0 after a terminal


class OffPolicyAlgorithm(Algorithm):
    """What a paper learns of a transition of the replay."""

    on_policy: ClassVar[bool] = False
    needs_current: ClassVar[bool] = False  # whether it needs `Bootstrap.current`

    @property
    @abstractmethod
    def double(self) -> bool:
        """Whether it needs `Bootstrap.online`: the online net chooses the bootstrap action."""

    @abstractmethod
    def loss(
        self,
        outputs: Float[Array, " Q"],
        bootstrap: Bootstrap,
        transition: Transition,
        kind: Literal["huber", "mse"],
    ) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """Loss of one example, and the size of its TD error, which a replay is prioritised by."""

    def teacher(self, config: Config, spec: EnvSpec, students: tuple[StudentSpec, ...]) -> Teacher:
        """The teacher of one game that learns so."""
        return OffPolicyTeacher(config, spec, students, self)


def batch_losses(
    algorithm: OffPolicyAlgorithm,
    outputs: Float[Array, "B Q"],
    batch: Minibatch,
    net: QNet,
    target: QNet,
    kind: Literal["huber", "mse"],
) -> tuple[Float[Array, " B"], Float[Array, " B"]]:
    """Losses of what `net` gave for `batch.x`, bootstrapped with `target`, and TD errors."""
    next_x = jnp.asarray(batch.next_x)
    next_target = target(next_x)
    next_online = net(next_x) if algorithm.double else next_target
    current = target(batch.x) if algorithm.needs_current else None
    bootstrap = jax.lax.stop_gradient(Bootstrap(next_online, next_target, current))
    made = Transition(batch.action, batch.reward, batch.discount)
    return jax.vmap(partial(algorithm.loss, kind=kind))(outputs, bootstrap, made)


class SampledIndices(NamedTuple):
    """Where a minibatch lies in the replay, and how much each of it counts."""

    row: Int[Array, " B"]
    env: Int[Array, " B"]
    weight: Float[Array, " B"] | float


@dataclass(frozen=True)
class OffPolicyTeacher(LearningTeacher):
    """Learns from minibatches of the replay, bootstrapped from a target net."""

    algorithm: OffPolicyAlgorithm

    @property
    def n_step(self) -> int:
        """Steps of a transition."""
        return self.config.teacher.n_step

    @property
    def needs_next(self) -> bool:
        """It bootstraps from where a transition leads to."""
        return True

    def _first_target(self, net: qnet.QNet) -> qnet.QNet:
        return copied(net)

    def plan(self, state: TeacherState, replay: ring.Replay) -> None:
        """Nothing: each update draws its own minibatch."""

    def update(
        self, state: TeacherState, updates: Int[Array, ""], replay: ring.Replay,
        rollout: Rollout | None = None,
    ) -> TeacherUpdate:  # fmt: skip
        """One update of the teacher, and what its students learn from it."""
        draw_key, noise_key, extra_key, next_key = jr.split(state.key, 4)
        drawn = self._draw(updates, replay, draw_key)
        found = ring.transitions(replay, drawn.row, drawn.env, **self.windows)
        batch = self._minibatch(state, found)
        loss = self._td_loss(state, batch, drawn.weight, noise_key)
        train, q, metrics, td_error = self._improve(state.train, loss)
        assert state.target is not None
        target = update_target(state.target, train.net, updates, self.config.teacher)
        priority = replay.priority
        if priority is not None:
            priority = updated_priorities(priority, drawn.row, drawn.env, jnp.asarray(td_error))
        state = TeacherState(train, target, state.preprocess, next_key, state.best)
        batches = self._batches(state, batch, q, replay, extra_key)
        return TeacherUpdate(state, batches, metrics, priority)

    def _draw(self, updates: Array, replay: ring.Replay, key: PRNGKeyArray) -> SampledIndices:
        """Where a minibatch lies in the replay.

        Importance weights: Schaul et al. 2016, section 3.4, the largest of a minibatch is 1.
        """
        settings = self.config.replay
        window = (settings.batch_size, self.spec.stack, self.n_step)
        if replay.priority is None:
            return SampledIndices(*ring.draw(replay, key, *window), 1.0)
        row, env, likelier = draw_prioritised(replay, key, *window, settings.priority)
        done = jnp.minimum(updates / self.schedule.updates, 1.0)
        weight = likelier ** -(settings.importance + done * (1 - settings.importance))
        return SampledIndices(row, env, weight / jnp.max(weight))

    def _td_loss(
        self, state: TeacherState, batch: Minibatch, weight: Array | float, key: PRNGKeyArray
    ) -> TeacherLoss:
        """The loss towards the target net's values; `key` draws the noise of noisy nets."""
        online_key, target_key = jr.split(key)
        assert state.target is not None
        target = qnet.with_noise(state.target, target_key)

        def loss(net: qnet.QNet) -> tuple[Array, tuple[Array, Array]]:
            net = qnet.with_noise(net, online_key)
            outputs = net(batch.x)
            losses, td_error = batch_losses(
                self.algorithm, outputs, batch, net, target, self.config.teacher.loss
            )
            return jnp.mean(weight * losses), (outputs, td_error)

        return loss
