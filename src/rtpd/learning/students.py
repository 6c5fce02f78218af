"""Students: how they begin, and one update of all of them towards what their teachers answer.

A student of several games has one body, and for each game a slice of its outputs.
"""

import itertools
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from rtpd.config.settings import Config, StudentConfig
from rtpd.learning.distillation import LOSSES, action_gap, certainty
from rtpd.learning.schedule import UpdateSchedule
from rtpd.learning.student_spec import StudentSpec
from rtpd.learning.teachers.dqn import DQN
from rtpd.learning.teachers.off_policy import batch_losses
from rtpd.learning.train_state import (
    DistillationBatch,
    Metrics,
    Target,
    TrainState,
    copied,
    descend,
    named_key,
    optimizer,
    update_ema,
    update_target,
)
from rtpd.networks import architectures, fake_quantization, family, qnet
from rtpd.types import EnvSpec

DOUBLE_Q = DQN(double=True)

ActionSlices = dict[str, slice]
"""Where each game's outputs are among a student's."""


@dataclass(frozen=True)
class Students:
    """All students of a run; `specs` are those of the games, which look alike, by name."""

    config: Config
    specs: Mapping[str, EnvSpec]
    each: tuple[StudentSpec, ...]
    schedule: UpdateSchedule

    @property
    def action_slices(self) -> ActionSlices:
        """The games' actions one after the other."""
        ends = itertools.accumulate(spec.num_actions for spec in self.specs.values())
        return {
            game: slice(end - spec.num_actions, end)
            for (game, spec), end in zip(self.specs.items(), ends, strict=True)
        }

    def init(self, key: PRNGKeyArray) -> dict[str, TrainState]:
        """Fresh students, each drawn from the key of its net: equal nets begin with equal weights.

        They start from He's weights and no biases: until the teacher tells states apart its
        Q-values drift as one, and students that begin with the usual small weights and random
        biases follow that drift until all their hidden units are dead
        (docs/LOG.md#why-he-weights).
        """
        num_outputs = sum(spec.num_actions for spec in self.specs.values())
        seen = next(iter(self.specs.values()))
        states = {}
        for student in self.each:
            net_key = named_key(key, student.net)
            net = architectures.build(student.net, seen, num_outputs, key=net_key, he=True)
            states[student.name] = TrainState(
                net,
                self._rule(student).init(net),
                target=copied(net) if LOSSES[student.loss].td else None,
                ema=copied(net) if student.settings.ema_decay else None,
            )
        return states

    def update(
        self,
        states: dict[str, TrainState],
        batches: Mapping[str, DistillationBatch],
        updates: Int[Array, ""],
    ) -> tuple[dict[str, TrainState], Metrics]:
        """Move the students in `states` towards the targets of each game's batch.

        `updates` counts those made before. A student's loss is the mean over its games; the sum
        over students is descended, where each net is in one term only.
        """
        students = [student for student in self.each if student.name in states]

        def loss(nets: dict[str, qnet.QNet]) -> tuple[Array, Metrics]:
            outputs = self._outputs(nets, batches)
            found = [
                {s.name: self._loss(s, outputs[game][s.name], nets[s.name], states, batch)
                 for s in students}
                for game, batch in batches.items()
            ]  # fmt: skip
            losses = {s.name: jnp.mean(jnp.stack([f[s.name] for f in found])) for s in students}
            return sum(losses.values(), jnp.zeros(())), losses

        nets = {name: state.net for name, state in states.items()}
        gradients, losses = jax.grad(loss, has_aux=True)(nets)
        updated = {
            student.name: self._descend(
                student, states[student.name], gradients[student.name], updates
            )
            for student in students
        }
        return updated, {f"{name}/loss": value for name, value in losses.items()}

    def _rule(self, student: StudentSpec) -> optax.GradientTransformation:
        """How a student descends: its rate falls over its own updates of the whole run."""
        late = self.schedule.updates - self.schedule.late_start(student.settings.late_share)
        before = student.settings.updates * (self.schedule.updates - late)
        real_time = before + student.late_updates * late
        updates = real_time + self.schedule.consolidation_updates
        return optimizer(student.settings.optimizer, updates)

    def _descend(
        self, student: StudentSpec, state: TrainState, gradient: qnet.QNet, updates: Array
    ) -> TrainState:
        net, opt_state = descend(self._rule(student), state, gradient)
        target, ema = state.target, state.ema
        if target is not None:
            target = update_target(target, net, updates, self.config.teacher)
        if ema is not None:
            ema = update_ema(ema, net, student.settings.ema_decay)
        return TrainState(net, opt_state, ema, target)

    def _loss(
        self, student: StudentSpec, outputs: Float[Array, "B A"], net: qnet.QNet,
        states: Mapping[str, TrainState], batch: DistillationBatch,
    ) -> Float[Array, ""]:  # fmt: skip
        """A student's mean loss on one game's batch."""
        kind, settings = LOSSES[student.loss], student.settings
        answers = batch.target[settings.follow]
        target = jnp.asarray(answers.q) if kind.needs_q else answers.logits
        temperature = _temperature(settings, answers)
        loss_of = partial(kind.loss, **dict(student.options))
        each = jax.vmap(loss_of, (0, 0, None))(outputs, target, temperature)
        known = jnp.broadcast_to(batch.known, each.shape)
        weighted = known * _weight(settings, target, temperature) * each
        loss = jnp.sum(weighted) / jnp.maximum(jnp.sum(known), 1)
        own_target = states[student.name].target
        if own_target is not None:
            found = batch_losses(
                DOUBLE_Q, outputs, batch.batch, net, own_target, self.config.teacher.loss
            )
            loss += settings.td_weight * jnp.mean(found[0])
        return loss

    def _outputs(
        self, nets: dict[str, qnet.QNet], batches: Mapping[str, DistillationBatch]
    ) -> dict[str, dict[str, Float[Array, "B A"]]]:
        """What each net says of each game's states with that game's slice, all games in one pass.

        Those that learn as they will be in int8 say what they would say then.
        """
        sizes = [len(batch.batch.x) for batch in batches.values()]
        x = jnp.concatenate([batch.batch.x for batch in batches.values()])
        rounded = {s.name for s in self.each if s.int8 and s.name in nets}
        outputs = _exact_and_rounded(nets, rounded, x)
        ends = list(itertools.accumulate(sizes))
        slices = self.action_slices
        return {
            game: {name: y[end - size : end, slices[game]] for name, y in outputs.items()}
            for game, size, end in zip(batches, sizes, ends, strict=True)
        }


def _exact_and_rounded(
    nets: dict[str, qnet.QNet], rounded: Collection[str], x: Array
) -> dict[str, Float[Array, "B Q"]]:
    exact = {name: net for name, net in nets.items() if name not in rounded}
    outputs = family.outputs_of(exact, x) if exact else {}
    whole = x.astype(jnp.float32)  # products of integers are exact, as exported ones are
    return outputs | {
        name: fake_quantization.outputs(nets[name], whole) for name in sorted(rounded)
    }


def _temperature(settings: StudentConfig, answers: Target) -> Float[Array, ""]:
    """Of the softmax over what the teacher answers, Q-values or the logits of a policy."""
    if answers.q is None:
        return jnp.float32(settings.policy_temperature)
    if settings.temperature_unit == "q":
        return jnp.float32(settings.temperature)
    gap = jnp.mean(jax.vmap(action_gap)(answers.q))
    return jnp.maximum(settings.temperature * gap, 1e-6)


def _weight(
    settings: StudentConfig, target: Float[Array, "B A"], temperature: Array
) -> Float[Array, " B"] | float:
    """How much each state of a minibatch counts, 1 on average."""
    if settings.weight == "none":
        return 1.0
    if settings.weight == "gap":
        worth = jax.vmap(action_gap)(target)
    else:
        worth = jax.vmap(certainty, (0, None))(target, temperature)
    return worth / jnp.maximum(jnp.mean(worth), 1e-9)
