"""Students: how they begin, and one update of all of them towards the teacher's Q-values."""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from rtpd import nets
from rtpd.config import Config, StudentConfig
from rtpd.distill import LOSSES, action_gap
from rtpd.models import (
    Metrics,
    Minibatch,
    Model,
    averaged,
    copied,
    descend,
    follow_slowly,
    named_key,
)
from rtpd.teachers import DQN
from rtpd.types import EnvSpec
from rtpd.validate import parse_students

DOUBLE_Q = DQN(double=True)


def init(
    config: Config, spec: EnvSpec, rule: optax.GradientTransformation, key: PRNGKeyArray
) -> dict[str, Model]:
    """Fresh students, each drawn from its own key.

    They start from He's weights and no biases: until the teacher tells states apart its Q-values
    drift as one, and students that begin with the usual small weights and random biases follow
    that drift until all their hidden units are dead (docs/LOG.md).
    """
    models = {}
    for student in parse_students(config.students):
        key_of_it = named_key(key, student.name)
        net = nets.build(student.net, spec, spec.num_actions, key=key_of_it, he=True)
        models[student.name] = Model(
            net,
            rule.init(net),
            target=copied(net) if LOSSES[student.loss].td else None,
            average=copied(net) if config.student.average_decay else None,
        )
    return models


def improve(
    config: Config,
    rule: optax.GradientTransformation,
    models: dict[str, Model],
    batch: Minibatch,
    q: Float[Array, "B A"],
    updates: Int[Array, ""],
) -> tuple[dict[str, Model], Metrics]:
    """Move every student of `config` towards `q` by `rule`; `updates` counts those made before.

    The sum of their losses is descended: each net is in one term only.
    """
    kinds = {s.name: LOSSES[s.loss] for s in parse_students(config.students)}
    targets = {name: model.target for name, model in models.items() if model.target is not None}
    temperature = _temperature(config.student, q)

    def loss(family: dict[str, nets.QNet]) -> tuple[Array, Metrics]:
        outputs = jax.vmap(nets.outputs_of, (None, 0))(family, batch.x)
        losses = {
            name: jnp.mean(jax.vmap(kind.loss, (0, 0, None))(outputs[name], q, temperature))
            for name, kind in kinds.items()
        }
        for name, target in targets.items():
            found = batch.losses(DOUBLE_Q, outputs[name], family[name], target, config.td.loss)
            losses[name] += config.student.td_weight * jnp.mean(found[0])
        return sum(losses.values(), jnp.zeros(())), losses

    family = {name: model.net for name, model in models.items()}
    gradients, losses = jax.grad(loss, has_aux=True)(family)
    improved = {}
    for name, model in models.items():
        net, opt_state = descend(rule, model, gradients[name])
        target, average = model.target, model.average
        if target is not None:
            target = follow_slowly(target, net, updates, config.td)
        if average is not None:
            average = averaged(average, net, config.student.average_decay)
        improved[name] = Model(net, opt_state, average, target)
    return improved, {f"{name}/loss": value for name, value in losses.items()}


def _temperature(config: StudentConfig, q: Float[Array, "B A"]) -> Float[Array, ""]:
    if config.temperature_unit == "q":
        return jnp.float32(config.temperature)
    return jnp.maximum(config.temperature * jnp.mean(jax.vmap(action_gap)(q)), 1e-6)
