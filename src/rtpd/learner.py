"""THE compiled update: sample, teacher TD, every student, target net, in one program.

The one seam of the method: students see `q[B A]` of the minibatch, which the teacher's own TD loss
has just computed, and never the teacher's weights. The law kept by tests: on CPU the teacher's
weights are bit-identical with no student, one or five.
"""

import zlib
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from rtpd import nets
from rtpd import replay as ring
from rtpd.config import Config, OptimizerConfig, StudentConfig
from rtpd.distill import LOSSES, action_gap, agreement, dead_share
from rtpd.teachers import TEACHERS, td_loss
from rtpd.types import EnvSpec, Preprocess, Transitions
from rtpd.validate import StudentSpec, parse_students


class Model(eqx.Module):
    """A net, its optimiser's state, and further nets where the settings ask for them.

    `average`: of a teacher, what students follow with `follow = "ema"`; of a student, what acts
    and is evaluated. `target`: what bootstraps a student's own TD term.
    """

    net: nets.QNet
    opt_state: Any
    average: nets.QNet | None = None
    target: nets.QNet | None = None


class LearnerState(eqx.Module):
    """All that the update reads and writes."""

    teacher: Model
    target: nets.QNet  # bootstraps the teacher
    students: dict[str, Model]
    preprocess: Preprocess
    updates: Int[Array, ""]
    key: PRNGKeyArray


Metrics = dict[str, Float[Array, ""]]


@dataclass(frozen=True)
class Learner:
    """The static side of an update: what `config` and `spec` make of it."""

    config: Config
    spec: EnvSpec

    @property
    def students(self) -> tuple[StudentSpec, ...]:
        """The students, in the order of the command line."""
        return parse_students(self.config.students)

    def init(self, key: PRNGKeyArray, preprocess: Preprocess) -> LearnerState:
        """Fresh nets. Each draws from its own key, so no student changes another or the teacher.

        Students start from He's weights and no biases: until the teacher tells states apart its
        Q-values drift as one, and students that begin with the usual small weights and random
        biases follow that drift until all their hidden units are dead (docs/LOG.md).
        """
        config, spec = self.config, self.spec
        num_outputs = TEACHERS[config.teacher].num_outputs(spec.num_actions)
        teacher = nets.build(
            config.td.net, spec, num_outputs, key=_named(key, "teacher"), dueling=config.td.dueling
        )
        students = {}
        for student in self.students:
            net = nets.build(
                student.net, spec, spec.num_actions, key=_named(key, student.name), he=True
            )
            students[student.name] = Model(
                net,
                optimizer(config.student.optimizer).init(net),
                target=copied(net) if LOSSES[student.loss].td else None,
                average=copied(net) if config.student.average_decay else None,
            )
        return LearnerState(
            Model(
                teacher,
                optimizer(config.td.optimizer).init(teacher),
                average=copied(teacher) if config.student.follow == "ema" else None,
            ),
            copied(teacher),
            students,
            preprocess,
            jnp.zeros((), jnp.int32),
            _named(key, "updates"),
        )

    def q_values(self, outputs: Float[Array, " Q"]) -> Float[Array, " A"]:
        """The teacher's Q-values from its net's outputs."""
        return TEACHERS[self.config.teacher].q_values(outputs)

    def zero_metrics(self) -> Metrics:
        """Sums that `update` adds to; divide by the number of updates."""
        names = ["loss", "q", *(f"{student.name}/loss" for student in self.students)]
        return {name: jnp.zeros(()) for name in names}

    def update(
        self, state: LearnerState, totals: Metrics, replay: ring.Replay
    ) -> tuple[LearnerState, Metrics]:
        """One update of the teacher and of every student. Jit it with state and totals donated."""
        config = self.config
        sample_key, extra_key, next_key = jr.split(state.key, 3)
        batch = self._sample(replay, sample_key)
        inputs = self._inputs(state, batch)
        teacher, q, metrics = self._improve_teacher(state.teacher, state.target, batch, *inputs)
        target = _follow_slowly(state.target, teacher.net, state.updates, config)
        # The barrier keeps XLA from fusing the students' work into the teacher's, which would
        # change the teacher's rounding with the number of students.
        batch, inputs, q = jax.lax.optimization_barrier((batch, inputs, jax.lax.stop_gradient(q)))
        students = dict(state.students)
        for i in range(config.student.updates if students else 0):
            if i:
                batch = self._sample(replay, jr.fold_in(extra_key, i))
                inputs = self._inputs(state, batch)
            if i or config.student.follow == "ema":
                q = jax.lax.stop_gradient(self._followed_q(teacher, inputs[0]))
            temperature = _temperature(config.student, q)
            students, found = self._improve_students(
                students, batch, *inputs, q, temperature, state.updates
            )
            metrics |= found
        totals = {name: totals[name] + metrics[name] for name in totals}
        updates = state.updates + 1
        return (
            LearnerState(teacher, target, students, state.preprocess, updates, next_key),
            totals,
        )

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
        config = self.config
        return ring.sample(
            replay,
            key,
            batch_size=batch_size or config.replay.batch_size,
            stack=self.spec.stack,
            n_step=config.td.n_step,
            gamma=config.td.gamma,
            clip_reward=config.td.clip_rewards,
        )

    def _inputs(self, state: LearnerState, batch: Transitions) -> tuple[Array, Array]:
        """The nets' inputs at both ends of the window, made once for all nets."""
        return jax.lax.optimization_barrier(
            (jax.vmap(state.preprocess)(batch.obs), jax.vmap(state.preprocess)(batch.next_obs))
        )

    def _improve_teacher(
        self, model: Model, target: nets.QNet, batch: Transitions, x: Array, next_x: Array
    ) -> tuple[Model, Float[Array, "B A"], Metrics]:
        config, teacher = self.config.td, TEACHERS[self.config.teacher]

        def loss(net: nets.QNet) -> tuple[Array, Array]:
            outputs = jax.vmap(net)(x)
            next_target = jax.vmap(target)(next_x)
            next_online = jax.vmap(net)(next_x) if teacher.double else next_target
            error = jax.vmap(teacher.td_error)(
                outputs, jax.lax.stop_gradient(next_online), next_target,
                batch.action, batch.reward, batch.discount,
            )  # fmt: skip
            return jnp.mean(td_loss(error, config.loss)), outputs

        (value, outputs), gradient = jax.value_and_grad(loss, has_aux=True)(model.net)
        net, opt_state = _descend(optimizer(config.optimizer), model, gradient)
        average = model.average
        if average is not None:
            average = _average(average, net, self.config.student.follow_decay)
        q = jax.vmap(teacher.q_values)(outputs)
        metrics = {"loss": value, "q": jnp.mean(jnp.max(q, axis=1))}
        return Model(net, opt_state, average), q, metrics

    def _improve_students(
        self, models: dict[str, Model], batch: Transitions, x: Array, next_x: Array,
        q: Array, temperature: Array, updates: Array,
    ) -> tuple[dict[str, Model], Metrics]:  # fmt: skip
        """One step of every student. Their sum is descended: each net is in one term only."""
        config, kinds = self.config.student, {s.name: LOSSES[s.loss] for s in self.students}
        targets = {n: model.target for n, model in models.items() if model.target is not None}

        def loss(family: dict[str, nets.QNet]) -> tuple[Array, Metrics]:
            outputs = jax.vmap(nets.outputs_of, (None, 0))(family, x)
            losses = {
                name: jnp.mean(jax.vmap(kind.loss, (0, 0, None))(outputs[name], q, temperature))
                for name, kind in kinds.items()
            }
            for name, target in targets.items():
                error = jax.vmap(TEACHERS["double-dqn"].td_error)(
                    outputs[name], jax.lax.stop_gradient(jax.vmap(family[name])(next_x)),
                    jax.vmap(target)(next_x), batch.action, batch.reward, batch.discount,
                )  # fmt: skip
                losses[name] += config.td_weight * jnp.mean(td_loss(error, self.config.td.loss))
            return sum(losses.values(), jnp.zeros(())), losses

        family = {name: model.net for name, model in models.items()}
        gradients, losses = jax.grad(loss, has_aux=True)(family)
        improved = {}
        for name, model in models.items():
            net, opt_state = _descend(optimizer(config.optimizer), model, gradients[name])
            target, average = model.target, model.average
            if target is not None:
                target = _follow_slowly(target, net, updates, self.config)
            if average is not None:
                average = _average(average, net, config.average_decay)
            improved[name] = Model(net, opt_state, average, target)
        return improved, {f"{name}/loss": value for name, value in losses.items()}

    def _followed_q(self, model: Model, x: Array) -> Float[Array, "B A"]:
        """The Q-values that students follow."""
        net = model.net if model.average is None else model.average
        return jax.vmap(TEACHERS[self.config.teacher].q_values)(jax.vmap(net)(x))


def acting_net(model: Model) -> nets.QNet:
    """The weights that act and are evaluated: the averaged ones where a student keeps them."""
    return model.net if model.average is None else model.average


def _temperature(config: StudentConfig, q: Float[Array, "B A"]) -> Float[Array, ""]:
    if config.temperature_unit == "q":
        return jnp.float32(config.temperature)
    return jnp.maximum(config.temperature * jnp.mean(jax.vmap(action_gap)(q)), 1e-6)


def optimizer(config: OptimizerConfig) -> optax.GradientTransformation:
    """Adam (Kingma & Ba 2015) or centred RMSProp, behind a clip of the global norm if asked."""
    steps = [optax.clip_by_global_norm(config.max_grad_norm)] if config.max_grad_norm else []
    if config.name == "adam":
        steps.append(optax.adam(config.learning_rate, eps=config.eps))
    else:
        steps.append(
            optax.rmsprop(config.learning_rate, decay=config.decay, eps=config.eps, centered=True)
        )
    return optax.chain(*steps)


def _descend(
    rule: optax.GradientTransformation, model: Model, gradient: nets.QNet
) -> tuple[nets.QNet, Any]:
    steps, opt_state = rule.update(gradient, model.opt_state)
    return eqx.apply_updates(model.net, steps), opt_state


def _follow_slowly(
    target: nets.QNet, net: nets.QNet, updates: Int[Array, ""], config: Config
) -> nets.QNet:
    """Every `target_period_updates` the target moves by `target_rate` towards the online net."""
    due = (updates + 1) % config.td.target_period_updates == 0
    rate = config.td.target_rate
    return jax.lax.cond(due, lambda: optax.incremental_update(net, target, rate), lambda: target)


def _average(average: nets.QNet, net: nets.QNet, decay: float) -> nets.QNet:
    return optax.incremental_update(net, average, 1 - decay)


def copied[T](tree: T) -> T:
    """Buffers of its own, since the state is donated."""
    return jax.tree.map(jnp.copy, tree)


def _named(key: PRNGKeyArray, name: str) -> PRNGKeyArray:
    """A key that depends on the name alone, not on which other names there are."""
    return jr.fold_in(key, zlib.crc32(name.encode()) & 0x7FFFFFFF)
