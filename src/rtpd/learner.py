"""THE compiled update: minibatch, teacher TD, every student, target net, in one program.

The one seam of the method: students see `q[B A]` of the minibatch, which the teacher's own TD loss
has just computed, and never the teacher's weights. The law kept by tests: on CPU the teacher's
weights are bit-identical with no student, one or five.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from rtpd import nets, students
from rtpd import replay as ring
from rtpd.config import Config
from rtpd.distill import LOSSES, agreement, dead_share
from rtpd.models import (
    Metrics,
    Minibatch,
    Model,
    acting_net,
    averaged,
    copied,
    descend,
    follow_slowly,
    named_key,
    optimizer,
)
from rtpd.teachers import DQN, TEACHERS, Teacher, lambda_returns, td_loss
from rtpd.types import EnvSpec, Preprocess, Transitions
from rtpd.validate import StudentSpec, parse_students

TeacherLoss = Callable[[nets.QNet], tuple[Array, tuple[Array, Array]]]
"""The mean loss of a minibatch; the net's outputs [B Q], and how they surprised [B]."""


class Rollout(NamedTuple):
    """T steps of E envs in the replay, and in which order they are learnt from."""

    rows: Int[Array, " T+1"]  # of the replay; the last one only bootstraps
    returns: Float[Array, " T*E"]  # env by env within a row
    order: Int[Array, "U B"]  # of U updates, indices into `returns`


class Drawn(NamedTuple):
    """Where a minibatch lies in the replay, and how much each of it counts."""

    row: Int[Array, " B"]
    env: Int[Array, " B"]
    weight: Float[Array, " B"] | float


class LearnerState(eqx.Module):
    """All that the update reads and writes."""

    teacher: Model
    target: nets.QNet | None  # bootstraps the teacher, unless its own net does
    students: dict[str, Model]
    preprocess: Preprocess
    updates: Int[Array, ""]
    key: PRNGKeyArray


@dataclass(frozen=True)
class Learner:
    """The static side of an update: what `config` and `spec` make of it."""

    config: Config
    spec: EnvSpec

    @property
    def teacher(self) -> Teacher:
        """The kind of teacher."""
        return TEACHERS[self.config.teacher]

    @property
    def updates_per_rollout(self) -> int:
        """Updates of the teacher between two rollouts; 1 where it learns from the replay."""
        if isinstance(self.teacher, DQN):
            return 1
        rollout = self.config.rollout
        return rollout.epochs * (self._rollout_steps // rollout.minibatch_size)

    @property
    def _rollout_steps(self) -> int:
        return self.config.rollout.steps * self.config.num_envs

    @property
    def steps_per_update(self) -> float:
        """Steps between two updates of the teacher, on average."""
        if isinstance(self.teacher, DQN):
            return self.config.replay.steps_per_update
        return self._rollout_steps / self.updates_per_rollout

    @property
    def cadence(self) -> str:
        """How often the teacher learns and from what, for people."""
        if isinstance(self.teacher, DQN):
            replay = self.config.replay
            return f"one update of batch {replay.batch_size} every {replay.steps_per_update} steps"
        rollout = self.config.rollout
        return (
            f"rollouts of {rollout.steps} steps of every env, each learnt from {rollout.epochs} "
            f"times in batches of {rollout.minibatch_size}"
        )

    def updates_due(self, steps: int) -> int:
        """Updates of the teacher that are due when `steps` have been made since the first one."""
        if isinstance(self.teacher, DQN):
            return steps // self.config.replay.steps_per_update + 1
        return steps * self.updates_per_rollout // self._rollout_steps + 1

    @property
    def students(self) -> tuple[StudentSpec, ...]:
        """The students, in the order of the command line."""
        return parse_students(self.config.students)

    def init(self, key: PRNGKeyArray, preprocess: Preprocess) -> LearnerState:
        """Fresh nets. Each draws from its own key, so no student changes another or the teacher."""
        config, spec = self.config, self.spec
        teacher = nets.build(
            config.td.net, spec, self.teacher.atoms * spec.num_actions,
            key=named_key(key, "teacher"), dueling=config.td.dueling, atoms=self.teacher.atoms,
            norm=self.teacher.norm, noisy=config.td.noisy,
        )  # fmt: skip
        return LearnerState(
            Model(
                teacher,
                self._rule.init(teacher),
                average=copied(teacher) if config.td.average_decay else None,
            ),
            copied(teacher) if isinstance(self.teacher, DQN) else None,
            students.init(config, spec, self._student_rule, key),
            preprocess,
            jnp.zeros((), jnp.int32),
            named_key(key, "updates"),
        )

    @property
    def _updates(self) -> int:
        """Updates of the teacher in the whole run."""
        return max(1, self.updates_due(self.config.steps - self.config.replay.warmup_steps))

    @property
    def _rule(self) -> optax.GradientTransformation:
        return optimizer(self.config.td.optimizer, self._updates)

    @property
    def _student_rule(self) -> optax.GradientTransformation:
        student = self.config.student
        return optimizer(student.optimizer, student.updates * self._updates)

    def q_values(self, outputs: Float[Array, " Q"]) -> Float[Array, " A"]:
        """The teacher's Q-values from its net's outputs."""
        return self.teacher.q_values(outputs)

    def zero_metrics(self) -> Metrics:
        """Sums that `update` adds to; divide by the number of updates."""
        names = ["loss", "q", *(f"{student.name}/loss" for student in self.students)]
        return {name: jnp.zeros(()) for name in names}

    def rollout(self, state: LearnerState, replay: ring.Replay) -> Rollout | None:
        """What the next `updates_per_rollout` updates learn from; None: from the replay.

        It ends with the last row but one, whose successor is known. The updates are spread over
        the steps of the next rollout, so emulation goes on beside them.
        """
        if isinstance(self.teacher, DQN):
            return None
        settings = self.config.rollout
        rows = ring.newest(replay, settings.steps + 1)
        keys = jr.split(jr.fold_in(state.key, 1), settings.epochs)
        shuffled = jax.vmap(partial(jr.permutation, x=self._rollout_steps))(keys)
        used = self.updates_per_rollout // settings.epochs * settings.minibatch_size
        order = shuffled[:, :used].reshape(-1, settings.minibatch_size)
        return Rollout(rows, self._returns(state, replay, rows).reshape(-1), order)

    def update(
        self,
        state: LearnerState,
        totals: Metrics,
        replay: ring.Replay,
        rollout: Rollout | None = None,
    ) -> tuple[LearnerState, Metrics, Array | None]:
        """One update of the teacher and of every student. Jit it, state and totals donated.

        Returns the new state, the new sums, and the replay's new priorities if it has any.
        """
        draw_key, noise_key, extra_key, next_key = jr.split(state.key, 4)
        drawn = None
        if isinstance(self.teacher, DQN):
            drawn = self._draw(state, replay, draw_key)
            batch, loss = self._of_replay(state, replay, drawn, noise_key)
        else:
            batch, loss = self._of_rollout(state, replay, cast("Rollout", rollout), noise_key)
        state, totals, surprise = self._improve(state, totals, replay, batch, loss, extra_key)
        priority = replay.priority
        if priority is not None and drawn is not None:
            priority = ring.reprioritised(priority, drawn.row, drawn.env, surprise)
        return eqx.tree_at(lambda s: s.key, state, next_key), totals, priority

    def _draw(self, state: LearnerState, replay: ring.Replay, key: PRNGKeyArray) -> Drawn:
        """Where a minibatch lies in the replay.

        Importance weights: Schaul et al. 2016, section 3.4, the largest of a minibatch is 1.
        """
        settings = self.config.replay
        window = (settings.batch_size, self.spec.stack, self.config.td.n_step)
        if replay.priority is None:
            return Drawn(*ring.draw(replay, key, *window), 1.0)
        row, env, likelier = ring.draw_prioritised(replay, key, *window, settings.priority)
        done = jnp.minimum(state.updates / self._updates, 1.0)
        weight = likelier ** -(settings.importance + done * (1 - settings.importance))
        return Drawn(row, env, weight / jnp.max(weight))

    def _of_replay(
        self, state: LearnerState, replay: ring.Replay, drawn: Drawn, noise_key: PRNGKeyArray
    ) -> tuple[Minibatch, TeacherLoss]:
        """A minibatch of the replay, and the loss towards the target net's values."""
        found = ring.transitions(replay, drawn.row, drawn.env, **self._windows())
        batch = self._minibatch(state, found)
        return batch, self._td_loss(state.target, batch, drawn.weight, noise_key)

    def _of_rollout(
        self, state: LearnerState, replay: ring.Replay, rollout: Rollout, noise_key: PRNGKeyArray
    ) -> tuple[Minibatch, TeacherLoss]:
        """The next minibatch of a rollout, and the loss towards its returns."""
        chosen = rollout.order[state.updates % len(rollout.order)]
        row, env = rollout.rows[chosen // self.config.num_envs], chosen % self.config.num_envs
        batch = self._minibatch(state, ring.transitions(replay, row, env, **self._windows()))
        weight = 1.0 - replay.last[row, env]  # there the action was ignored
        return batch, self._return_loss(batch, rollout.returns[chosen], weight, noise_key)

    def _returns(
        self, state: LearnerState, replay: ring.Replay, rows: Int[Array, " T+1"]
    ) -> Float[Array, "T E"]:
        """Q(lambda) returns of a rollout, whose last row only bootstraps."""
        config, every = self.config, jnp.arange(self.config.num_envs)

        def value(row: Array) -> Float[Array, " E"]:
            obs = ring.stacks(replay, jnp.full_like(every, row), every, self.spec.stack)
            x = jax.vmap(state.preprocess)(obs)
            return jnp.max(self._q(acting_net(state.teacher), x), axis=1)

        reward = ring.clipped(replay.reward[rows[:-1]], config.td.clip_rewards)
        returns = partial(lambda_returns, gamma=config.td.gamma, lam=config.rollout.trace)
        return jax.vmap(returns, 1, 1)(
            reward, replay.terminal[rows[:-1]], replay.last[rows], jax.lax.map(value, rows)
        )

    def _improve(
        self, state: LearnerState, totals: Metrics, replay: ring.Replay, batch: Minibatch,
        loss: TeacherLoss, key: PRNGKeyArray,
    ) -> tuple[LearnerState, Metrics, Float[Array, " B"]]:  # fmt: skip
        """One update: the teacher on this minibatch, then every student; what surprised it."""
        config = self.config
        teacher, q, surprise, metrics = self._improve_teacher(state.teacher, loss)
        target = state.target
        if target is not None:
            target = follow_slowly(target, teacher.net, state.updates, self.config.td)
        # The barrier keeps XLA from fusing the students' work into the teacher's, which would
        # change the teacher's rounding with the number of students.
        batch, q = jax.lax.optimization_barrier((batch, jax.lax.stop_gradient(q)))
        models, size = state.students, config.replay.batch_size
        parts = max(1, len(q) // size)
        for i in range(config.student.updates if models else 0):
            if i < parts:
                mine, mine_q = jax.tree.map(lambda a, i=i: a[i * size : (i + 1) * size], (batch, q))
            else:
                mine = self._minibatch(state, self._sample(replay, jr.fold_in(key, i)))
            if i >= parts or config.student.follow == "ema":
                mine_q = jax.lax.stop_gradient(self._followed_q(teacher, mine.x))
            models, found = students.improve(
                config, self._student_rule, models, mine, mine_q, state.updates
            )
            metrics |= found
        totals = {name: totals[name] + metrics[name] for name in totals}
        updates = state.updates + 1
        state = LearnerState(teacher, target, models, state.preprocess, updates, state.key)
        return state, totals, surprise

    def diagnose(
        self, state: LearnerState, replay: ring.Replay, key: PRNGKeyArray, batch_size: int = 256
    ) -> dict[str, Metrics]:
        """How well each student follows, on states of the replay: `agreement`, `dead_share`."""
        batch = self._sample(replay, key, batch_size)
        x = jax.vmap(state.preprocess)(batch.obs)
        q = self._followed_q(state.teacher, x)
        found = {}
        for name, model in state.students.items():
            outputs, hidden = jax.vmap(acting_net(model).trace)(x)
            found[name] = agreement(outputs, q) | {"dead": dead_share(hidden)}
        return found

    def _sample(
        self, replay: ring.Replay, key: PRNGKeyArray, batch_size: int | None = None
    ) -> Transitions:
        size = batch_size or self.config.replay.batch_size
        return ring.sample(replay, key, batch_size=size, **self._windows())

    def _windows(self) -> dict[str, Any]:
        """What a transition is."""
        td = self.config.td
        return {
            "stack": self.spec.stack,
            "n_step": td.n_step if isinstance(self.teacher, DQN) else 1,
            "gamma": td.gamma,
            "clip_reward": td.clip_rewards,
        }

    def _minibatch(self, state: LearnerState, batch: Transitions) -> Minibatch:
        """What the nets see of a batch, in memory once for all of them."""
        needed = isinstance(self.teacher, DQN) or any(LOSSES[s.loss].td for s in self.students)
        ends = (batch.obs, batch.next_obs if needed else None)
        x, next_x = jax.lax.optimization_barrier(jax.tree.map(jax.vmap(state.preprocess), ends))
        return Minibatch(x, next_x, batch.action, batch.reward, batch.discount)

    def _td_loss(
        self,
        target: nets.QNet | None,
        batch: Minibatch,
        weight: Array | float,
        key: PRNGKeyArray,
    ) -> TeacherLoss:
        """Of a teacher that bootstraps from its target net; `key` draws the noise of noisy nets."""
        rule = cast("DQN", self.teacher)
        online_key, target_key = jr.split(key)
        target = nets.with_noise(cast("nets.QNet", target), target_key)

        def loss(net: nets.QNet) -> tuple[Array, tuple[Array, Array]]:
            net = nets.with_noise(net, online_key)
            outputs = jax.vmap(net)(batch.x)
            losses, surprise = batch.losses(rule, outputs, net, target, self.config.td.loss)
            return jnp.mean(weight * losses), (outputs, surprise)

        return loss

    def _return_loss(
        self, batch: Minibatch, returns: Array, weight: Array, key: PRNGKeyArray
    ) -> TeacherLoss:
        """Of a teacher whose returns are known before its update."""

        def loss(net: nets.QNet) -> tuple[Array, tuple[Array, Array]]:
            outputs = jax.vmap(nets.with_noise(net, key))(batch.x)
            error = returns - jax.vmap(jnp.take)(self._q_of(outputs), batch.action)
            losses = td_loss(error, self.config.td.loss)
            mean = jnp.sum(weight * losses) / jnp.maximum(jnp.sum(weight), 1.0)
            return mean, (outputs, jnp.abs(error))

        return loss

    def _improve_teacher(
        self, model: Model, loss: TeacherLoss
    ) -> tuple[Model, Float[Array, "B A"], Float[Array, " B"], Metrics]:
        (value, (outputs, surprise)), gradient = jax.value_and_grad(loss, has_aux=True)(model.net)
        net, opt_state = descend(self._rule, model, gradient)
        average = model.average
        if average is not None:
            average = averaged(average, net, self.config.td.average_decay)
        q = self._q_of(outputs)
        metrics = {"loss": value, "q": jnp.mean(jnp.max(q, axis=1))}
        return Model(net, opt_state, average), q, surprise, metrics

    def _followed_q(self, model: Model, x: Array) -> Float[Array, "B A"]:
        """The Q-values that students follow."""
        ema = self.config.student.follow == "ema"
        return self._q(acting_net(model) if ema else model.net, x)

    def _q(self, net: nets.QNet, x: Array) -> Float[Array, "B A"]:
        return self._q_of(jax.vmap(net)(x))

    def _q_of(self, outputs: Float[Array, "B Q"]) -> Float[Array, "B A"]:
        return jax.vmap(self.teacher.q_values)(outputs)
