"""Teachers that learn from rollouts: every T steps of all envs, in shuffled minibatches."""

from abc import abstractmethod
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, NamedTuple

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


class RolloutSteps(NamedTuple):
    """B steps of a rollout, or one of them, and what was made of them when it was planned."""

    action: Int[Array, "*B"]
    weight: Float[Array, "*B"]  # 0 where the action was ignored
    returns: Float[Array, "*B"]
    value: Float[Array, "*B"] | None  # see `Rollout`, as of what follows
    log_prob: Float[Array, "*B"] | None


class OnPolicyAlgorithm(Algorithm):
    """What a paper makes of a rollout, and its loss of a minibatch."""

    on_policy: ClassVar[bool] = True

    def value(self, outputs: Float[Array, " Q"]) -> Float[Array, ""]:
        """What a state is worth by the outputs for it, which bootstraps: max_a Q."""
        return jnp.max(self.head(outputs))

    @abstractmethod
    def returns(
        self,
        reward: Float[Array, " T"],
        terminal: Bool[Array, " T"],
        last: Bool[Array, " T+1"],
        value: Float[Array, " T+1"],
        config: Config,
    ) -> Float[Array, " T"]:
        """What T steps of one env are learnt towards; `value` is that of each state."""

    @abstractmethod
    def losses(
        self, outputs: Float[Array, "B Q"], steps: RolloutSteps, config: Config
    ) -> Float[Array, " B"]:
        """Loss of each step of a minibatch."""

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
        value = self._values(state, replay, rows)
        rollout = Rollout(rows, self._returns(replay, rows, value).reshape(-1), order)
        if self.head.gives_q:
            return rollout
        log_prob = self._log_probs(replay, rows[:-1])
        return rollout._replace(value=value[:-1].reshape(-1), log_prob=log_prob.reshape(-1))

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
        made = (rollout.returns, rollout.value, rollout.log_prob)
        steps = RolloutSteps(batch.action, weight, *jax.tree.map(lambda a: a[chosen], made))
        loss = self._rollout_loss(batch, steps, noise_key)
        train, q, metrics, _ = self._improve(state.train, loss)
        state = TeacherState(train, None, state.preprocess, next_key, state.best)
        batches = self._batches(state, batch, q, replay, extra_key)
        return TeacherUpdate(state, batches, metrics, replay.priority)

    def _values(
        self, state: TeacherState, replay: ring.Replay, rows: Int[Array, " R"]
    ) -> Float[Array, "R E"]:
        """What each state of a rollout is worth.

        By the Q-values that the teacher answered while it was played. Where there are none, or some
        are missing, as after the warm-up, the latest net evaluates it all.
        """
        every = jnp.arange(self.config.num_envs)

        def evaluate(row: Array) -> Float[Array, " E"]:
            obs = ring.stacks(replay, jnp.full_like(every, row), every, self.spec.stack)
            x = self.preprocessed(state.preprocess, obs)
            return jax.vmap(self.algorithm.value)(state.train.acting(x))

        def evaluated() -> Float[Array, "R E"]:
            return jax.lax.map(evaluate, rows)

        if replay.q is None or not self.head.gives_q:
            return evaluated()
        played = jnp.max(replay.q[rows], axis=-1)
        return jax.lax.cond(jnp.all(jnp.isfinite(played)), lambda: played, evaluated)

    def _log_probs(self, replay: ring.Replay, rows: Int[Array, " T"]) -> Float[Array, "T E"]:
        """Of the actions, by the policy that chose them: a uniform one where chance alone did."""
        action, logits = replay.action[rows], jnp.nan_to_num(jnp.asarray(replay.q)[rows])
        return jnp.take_along_axis(jax.nn.log_softmax(logits), action[..., None], -1)[..., 0]

    def _returns(
        self, replay: ring.Replay, rows: Int[Array, " R"], value: Float[Array, "R E"]
    ) -> Float[Array, "R-1 E"]:
        """What a rollout is learnt towards; its last row only bootstraps."""
        config = self.config
        reward = ring.clipped(replay.reward[rows[:-1]], config.teacher.clip_rewards)
        returns = partial(self.algorithm.returns, config=config)
        return jax.vmap(returns, 1, 1)(reward, replay.terminal[rows[:-1]], replay.last[rows], value)

    def _rollout_loss(
        self, batch: Minibatch, steps: RolloutSteps, key: PRNGKeyArray
    ) -> TeacherLoss:
        """The weighted mean loss; `key` draws the noise of noisy nets."""
        weight = steps.weight

        def loss(net: qnet.QNet) -> tuple[Array, tuple[Array, None]]:
            outputs = qnet.with_noise(net, key)(batch.x)
            losses = self.algorithm.losses(outputs, steps, self.config)
            return jnp.sum(weight * losses) / jnp.maximum(jnp.sum(weight), 1.0), (outputs, None)

        return loss
