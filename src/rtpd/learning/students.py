"""Students: how they begin, and one update of all of them towards their teachers' Q-values.

A student of several games has one body, and for each game a head: a slice of its outputs.
"""

import itertools
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from rtpd.config.settings import Config, StudentConfig
from rtpd.learning.distillation import LOSSES, action_gap, certainty
from rtpd.learning.schedule import Pace
from rtpd.learning.student_spec import StudentSpec, parse_students
from rtpd.learning.teachers import DQN
from rtpd.learning.train_state import (
    Lesson,
    Metrics,
    Model,
    averaged,
    copied,
    descend,
    follow_slowly,
    named_key,
    optimizer,
)
from rtpd.networks import fake_quantization, qnet
from rtpd.types import EnvSpec

DOUBLE_Q = DQN(double=True)

Heads = dict[str, slice]
"""Where each game's outputs are among a student's."""


def heads(specs: Mapping[str, EnvSpec]) -> Heads:
    """The games' actions one after the other."""
    ends = itertools.accumulate(spec.num_actions for spec in specs.values())
    return {
        game: slice(end - spec.num_actions, end)
        for (game, spec), end in zip(specs.items(), ends, strict=True)
    }


def rule(config: Config, student: StudentSpec) -> optax.GradientTransformation:
    """How a student descends in a run of `config`."""
    pace = Pace(config)
    updates = student.how.updates * pace.updates + pace.consolidation_updates
    return optimizer(student.how.optimizer, updates)


def init(config: Config, specs: Mapping[str, EnvSpec], key: PRNGKeyArray) -> dict[str, Model]:
    """Fresh students, each drawn from the key of its net: equal nets begin with equal weights.

    They start from He's weights and no biases: until the teacher tells states apart its Q-values
    drift as one, and students that begin with the usual small weights and random biases follow
    that drift until all their hidden units are dead (docs/LOG.md).
    """
    models, num_outputs = {}, sum(spec.num_actions for spec in specs.values())
    seen = next(iter(specs.values()))  # all games look alike
    for student in parse_students(config):
        net_key = named_key(key, student.net)
        net = qnet.build(student.net, seen, num_outputs, key=net_key, he=True)
        models[student.name] = Model(
            net,
            rule(config, student).init(net),
            target=copied(net) if LOSSES[student.loss].td else None,
            average=copied(net) if student.how.average_decay else None,
        )
    return models


def improve(
    config: Config,
    heads: Heads,
    models: dict[str, Model],
    lessons: Mapping[str, Lesson],
    updates: Int[Array, ""],
) -> tuple[dict[str, Model], Metrics]:
    """Move the students in `models` towards what each game's lesson says.

    `updates` counts those made before. A student's loss is the mean over its games; the sum over
    students is descended, where each net is in one term only.
    """
    students = {s.name: s for s in parse_students(config) if s.name in models}
    rounded = {name for name, student in students.items() if student.int8}

    def of_game(game: str, outputs: dict[str, Array], family: dict[str, qnet.QNet]) -> Metrics:
        batch, losses = lessons[game].batch, {}
        for name, student in students.items():
            kind, how = LOSSES[student.loss], student.how
            q = lessons[game].q[how.follow]
            temperature = _temperature(how, q)
            each = jax.vmap(kind.loss, (0, 0, None))(outputs[name], q, temperature)
            known = jnp.broadcast_to(lessons[game].known, each.shape)
            weighted = known * _weight(how, q, temperature) * each
            losses[name] = jnp.sum(weighted) / jnp.maximum(jnp.sum(known), 1)
            target = models[name].target
            if target is not None:
                found = batch.losses(DOUBLE_Q, outputs[name], family[name], target, config.td.loss)
                losses[name] += how.td_weight * jnp.mean(found[0])
        return losses

    def loss(family: dict[str, qnet.QNet]) -> tuple[Array, Metrics]:
        outputs = _outputs(family, rounded, heads, lessons)
        found = [of_game(game, outputs[game], family) for game in lessons]
        losses = {name: jnp.mean(jnp.stack([f[name] for f in found])) for name in students}
        return sum(losses.values(), jnp.zeros(())), losses

    family = {name: model.net for name, model in models.items()}
    gradients, losses = jax.grad(loss, has_aux=True)(family)
    improved = {}
    for name, model in models.items():
        student = students[name]
        net, opt_state = descend(rule(config, student), model, gradients[name])
        target, average = model.target, model.average
        if target is not None:
            target = follow_slowly(target, net, updates, config.td)
        if average is not None:
            average = averaged(average, net, student.how.average_decay)
        improved[name] = Model(net, opt_state, average, target)
    return improved, {f"{name}/loss": value for name, value in losses.items()}


def _outputs(
    family: dict[str, qnet.QNet], rounded: set[str], heads: Heads, lessons: Mapping[str, Lesson]
) -> dict[str, dict[str, Float[Array, "B A"]]]:
    """What each net says of each game's states with that game's head, all games in one pass.

    Those in `rounded` say what they would say in int8.
    """
    sizes = [len(lesson.batch.x) for lesson in lessons.values()]
    x = jnp.concatenate([lesson.batch.x for lesson in lessons.values()])
    exact = {name: net for name, net in family.items() if name not in rounded}
    every = qnet.outputs_of(exact, x) if exact else {}
    whole = x.astype(jnp.float32)  # products of integers are exact, as exported ones are
    every |= {name: fake_quantization.outputs(family[name], whole) for name in sorted(rounded)}
    ends = list(itertools.accumulate(sizes))
    return {
        game: {name: outputs[end - size : end, heads[game]] for name, outputs in every.items()}
        for game, size, end in zip(lessons, sizes, ends, strict=True)
    }


def _temperature(config: StudentConfig, q: Float[Array, "B A"]) -> Float[Array, ""]:
    if config.temperature_unit == "q":
        return jnp.float32(config.temperature)
    return jnp.maximum(config.temperature * jnp.mean(jax.vmap(action_gap)(q)), 1e-6)


def _weight(
    config: StudentConfig, q: Float[Array, "B A"], temperature: Array
) -> Float[Array, " B"] | float:
    """How much each state of a minibatch counts, 1 on average."""
    if config.weight == "none":
        return 1.0
    if config.weight == "gap":
        worth = jax.vmap(action_gap)(q)
    else:
        worth = jax.vmap(certainty, (0, None))(q, temperature)
    return worth / jnp.maximum(jnp.mean(worth), 1e-9)
