"""A net in training, and the minibatches that it learns from."""

import zlib
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from rtpd.config.settings import Follow, OptimizerConfig, Targets, TeacherConfig
from rtpd.networks import qnet

Metrics = dict[str, Float[Array, ""]]


class TrainState(eqx.Module):
    """A net, its optimiser's state, and further nets where the settings ask for them.

    `ema`: averaged weights, which act and are evaluated; `target`: what bootstraps a student's own
    TD term.
    """

    net: qnet.QNet
    opt_state: Any
    ema: qnet.QNet | None = None
    target: qnet.QNet | None = None

    @property
    def acting(self) -> qnet.QNet:
        """The weights that act and are evaluated: the averaged ones where they are kept."""
        return self.net if self.ema is None else self.ema


class Minibatch(NamedTuple):
    """B transitions as nets see them: both ends made once for all nets, without the raw frames."""

    x: Float[Array, "B ..."]
    next_x: Float[Array, "B ..."] | None  # None where no net looks at it
    action: Int[Array, " B"]
    reward: Float[Array, " B"]  # n-step
    discount: Float[Array, " B"]  # gamma^n, or 0 after a terminal


class Target(NamedTuple):
    """What a teacher answers on B states: the logits that students follow.

    `q`: its Q-values, None where it has a policy alone. Of a teacher of Q-values both are the same.
    """

    logits: Float[Array, "B A"]
    q: Float[Array, "B A"] | None


class DistillationBatch(NamedTuple):
    """What students learn from: B states of one game, and what its teacher answers there."""

    batch: Minibatch
    target: dict[Follow, Target]  # by whose answers they are
    known: Float[Array, " B"] | float = 1.0  # 0 where the teacher has not answered


DistillationBatches = list[dict[Targets, DistillationBatch]]
"""For each student update between two of the teacher's, what it learns from."""


def optimizer(config: OptimizerConfig, updates: int) -> optax.GradientTransformation:
    """Adam (Kingma & Ba 2015), RAdam (Liu et al. 2020) or centred RMSProp.

    Behind a clip of the gradient's global norm if asked. `updates`: those of the whole run, after
    which the learning rate has fallen to 0 if it is to fall.
    """
    steps = [optax.clip_by_global_norm(config.max_grad_norm)] if config.max_grad_norm else []
    rate: float | optax.Schedule = config.learning_rate
    if config.anneal:
        fall = max(1, round(config.anneal * updates))
        rate = optax.linear_schedule(config.learning_rate, 0.0, fall, updates - fall)
    eps = config.eps
    rules = {
        "adam": lambda: optax.adam(rate, eps=eps),
        "radam": lambda: optax.radam(rate, eps=eps),
        "rmsprop": lambda: optax.rmsprop(rate, decay=config.decay, eps=eps, centered=True),
    }
    steps.append(rules[config.name]())
    return optax.chain(*steps)


def descend(
    rule: optax.GradientTransformation, state: TrainState, gradient: qnet.QNet
) -> tuple[qnet.QNet, Any]:
    """A step of the optimiser: the new net and the optimiser's new state."""
    steps, opt_state = rule.update(gradient, state.opt_state)
    return eqx.apply_updates(state.net, steps), opt_state


def update_target(
    target: qnet.QNet, net: qnet.QNet, updates: Int[Array, ""], td: TeacherConfig
) -> qnet.QNet:
    """Every `target_period_updates` the target moves by `target_rate` towards the online net."""
    due = (updates + 1) % td.target_period_updates == 0
    rate = td.target_rate
    return jax.lax.cond(due, lambda: optax.incremental_update(net, target, rate), lambda: target)


def update_ema(ema: qnet.QNet, net: qnet.QNet, decay: float) -> qnet.QNet:
    """The exponential moving average of a net's weights, one update later."""
    return optax.incremental_update(net, ema, 1 - decay)


def copied[T](tree: T) -> T:
    """Buffers of its own, since the state is donated."""
    return jax.tree.map(jnp.copy, tree)


def named_key(key: PRNGKeyArray, name: str) -> PRNGKeyArray:
    """A key that depends on the name alone, not on which other names there are."""
    return jr.fold_in(key, zlib.crc32(name.encode()) & 0x7FFFFFFF)
