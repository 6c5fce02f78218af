"""Teachers that learn from rollouts: every T steps of all envs, in shuffled minibatches."""

from abc import abstractmethod
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from rtpd.config.settings import Config
from rtpd.learning import replay as ring
from rtpd.learning.student_spec import StudentSpec
from rtpd.learning.teachers.base import Algorithm, Teacher
from rtpd.learning.teachers.learning_teacher import LearningTeacher, TeacherLoss
from rtpd.learning.teachers.state import Rollout, TeacherState, TeacherUpdate
from rtpd.learning.train_state import Minibatch
from rtpd.networks import qnet
from rtpd.types import EnvSpec


class OnPolicyAlgorithm(Algorithm):
    """What a paper makes of a rollout, and its loss of one example."""

    on_policy: ClassVar[bool] = True

    @abstractmethod
    def returns(
        self,
        reward: Float[Array, " T"],
        terminal: Bool[Array, " T"],
        last: Bool[Array, " T+1"],
        value: Float[Array, " T+1"],
        config: Config,
    ) -> Float[Array, " T"]:
        """What T steps of one env are learnt towards; `value` is max_a Q of each state."""

    @abstractmethod
    def loss(
        self, q: Float[Array, " A"], action: Int[Array, ""], returns: Float[Array, ""],
        kind: Literal["huber", "mse"],
    ) -> tuple[Float[Array, ""], Float[Array, ""]]:  # fmt: skip
        """Loss of one example, and the size of its TD error."""

    def teacher(self, config: Config, spec: EnvSpec, students: tuple[StudentSpec, ...]) -> Teacher:
        """The teacher of one game that learns so."""
        return OnPolicyTeacher(config, spec, students, self)


@dataclass(frozen=True)
class OnPolicyTeacher(LearningTeacher):
    """Learns from the newest rollout, in one or several epochs."""

    algorithm: OnPolicyAlgorithm

    @property
    def n_step(self) -> int:
        """Steps of a transition."""
        return 1

    @property
    def needs_next(self) -> bool:
        """Its returns are known before its updates."""
        return False

    def plan(self, state: TeacherState, replay: ring.Replay) -> Rollout:
        """The newest rollout, its returns, and the order in which it is learnt from.

        It ends with the last row but one, whose successor is known. The updates are spread over
        the steps of the next rollout, so emulation goes on beside them.
        """
        settings = self.config.rollout
        rows = ring.newest(replay, settings.steps + 1)
        keys = jr.split(jr.fold_in(state.key, 1), settings.epochs)
        shuffled = jax.vmap(partial(jr.permutation, x=self.schedule.rollout_steps))(keys)
        used = self.schedule.updates_per_rollout // settings.epochs * settings.minibatch_size
        order = shuffled[:, :used].reshape(-1, settings.minibatch_size)
        return Rollout(rows, self._returns(state, replay, rows).reshape(-1), order)

    def update(
        self, state: TeacherState, updates: Int[Array, ""], replay: ring.Replay,
        rollout: Rollout | None,
    ) -> TeacherUpdate:  # fmt: skip
        """One update of the teacher, and what its students learn from it."""
        assert rollout is not None
        _, noise_key, extra_key, next_key = jr.split(state.key, 4)
        chosen = rollout.order[updates % len(rollout.order)]
        row, env = rollout.rows[chosen // self.config.num_envs], chosen % self.config.num_envs
        batch = self._minibatch(state, ring.transitions(replay, row, env, **self.windows))
        weight = 1.0 - replay.last[row, env]  # there the action was ignored
        loss = self._return_loss(batch, rollout.returns[chosen], weight, noise_key)
        train, q, _, metrics = self._improve(state.train, loss)
        state = TeacherState(train, None, state.preprocess, next_key, state.best)
        batches = self._batches(state, batch, q, replay, extra_key)
        return TeacherUpdate(state, batches, metrics, replay.priority)

    def _returns(
        self, state: TeacherState, replay: ring.Replay, rows: Int[Array, " R"]
    ) -> Float[Array, "R-1 E"]:
        """What a rollout is learnt towards; its last row only bootstraps.

        Its values are those that it was played by. Where some are missing, as after the warm-up or
        where students drive, the latest net evaluates it all.
        """
        config, every = self.config, jnp.arange(self.config.num_envs)

        def evaluate(row: Array) -> Float[Array, " E"]:
            obs = ring.stacks(replay, jnp.full_like(every, row), every, self.spec.stack)
            x = self.preprocessed(state.preprocess, obs)
            return jnp.max(self.q_values(state.train.acting, x), axis=1)

        def evaluated() -> Float[Array, "R E"]:
            return jax.lax.map(evaluate, rows)

        if replay.q is None:
            value = evaluated()
        else:
            played = jnp.max(replay.q[rows], axis=-1)
            value = jax.lax.cond(jnp.all(jnp.isfinite(played)), lambda: played, evaluated)
        reward = ring.clipped(replay.reward[rows[:-1]], config.teacher.clip_rewards)
        returns = partial(self.algorithm.returns, config=config)
        return jax.vmap(returns, 1, 1)(reward, replay.terminal[rows[:-1]], replay.last[rows], value)

    def _return_loss(
        self, batch: Minibatch, returns: Array, weight: Array, key: PRNGKeyArray
    ) -> TeacherLoss:
        """The weighted mean loss; `key` draws the noise of noisy nets."""
        loss_of = partial(self.algorithm.loss, kind=self.config.teacher.loss)

        def loss(net: qnet.QNet) -> tuple[Array, tuple[Array, Array]]:
            outputs = qnet.with_noise(net, key)(batch.x)
            q = jax.vmap(self.head)(outputs)
            losses, td_error = jax.vmap(loss_of)(q, batch.action, returns)
            mean = jnp.sum(weight * losses) / jnp.maximum(jnp.sum(weight), 1.0)
            return mean, (outputs, td_error)

        return loss
