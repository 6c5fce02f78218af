"""What an update works on: a net in training, and a minibatch."""

import zlib
from functools import partial
from typing import Any, Literal, NamedTuple, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from rtpd.config.settings import Follow, OptimizerConfig, Targets, TeacherConfig
from rtpd.learning.teachers import DQN, Ends, Transition
from rtpd.networks import qnet

Metrics = dict[str, Float[Array, ""]]


class Model(eqx.Module):
    """A net, its optimiser's state, and further nets where the settings ask for them.

    `average`: what acts and is evaluated; `target`: what bootstraps a student's own TD term.
    """

    net: qnet.QNet
    opt_state: Any
    average: qnet.QNet | None = None
    target: qnet.QNet | None = None


class Minibatch(NamedTuple):
    """Transitions as nets see them: both ends made once for all nets, without the raw frames.

    `next_x` is None where no net looks at it.
    """

    x: Float[Array, "B ..."]
    next_x: Float[Array, "B ..."] | None
    action: Int[Array, " B"]
    reward: Float[Array, " B"]
    discount: Float[Array, " B"]

    def losses(
        self,
        rule: DQN,
        outputs: Float[Array, "B Q"],
        net: qnet.QNet,
        target: qnet.QNet,
        kind: Literal["huber", "mse"],
    ) -> tuple[Float[Array, " B"], Float[Array, " B"]]:
        """Losses of `outputs`, which `net` gave for `x`, bootstrapped with `target`; surprises."""
        next_x = cast("Array", self.next_x)
        next_target = target(next_x)
        next_online = net(next_x) if rule.double else next_target
        here = target(self.x) if rule.looks_here else None
        ends = jax.lax.stop_gradient(Ends(next_online, next_target, here))
        made = Transition(self.action, self.reward, self.discount)
        return jax.vmap(partial(rule.loss, kind=kind))(outputs, ends, made)


class Lesson(NamedTuple):
    """What students learn from: states of one game, and what its teacher says of them."""

    batch: Minibatch
    q: dict[Follow, Float[Array, "B A"]]  # by whose they are
    known: Float[Array, " B"] | float = 1.0  # 0 where the teacher has not said anything


Lessons = list[dict[Targets, Lesson]]
"""For each update of the students between two of the teacher's, what it learns from."""


def acting_net(model: Model) -> qnet.QNet:
    """The weights that act and are evaluated: the averaged ones where they are kept."""
    return model.net if model.average is None else model.average


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
    rule: optax.GradientTransformation, model: Model, gradient: qnet.QNet
) -> tuple[qnet.QNet, Any]:
    """A step of the optimiser: the new net and the optimiser's new state."""
    steps, opt_state = rule.update(gradient, model.opt_state)
    return eqx.apply_updates(model.net, steps), opt_state


def follow_slowly(
    target: qnet.QNet, net: qnet.QNet, updates: Int[Array, ""], td: TeacherConfig
) -> qnet.QNet:
    """Every `target_period_updates` the target moves by `target_rate` towards the online net."""
    due = (updates + 1) % td.target_period_updates == 0
    rate = td.target_rate
    return jax.lax.cond(due, lambda: optax.incremental_update(net, target, rate), lambda: target)


def averaged(average: qnet.QNet, net: qnet.QNet, decay: float) -> qnet.QNet:
    """The running average of a net's weights, one update later."""
    return optax.incremental_update(net, average, 1 - decay)


def copied[T](tree: T) -> T:
    """Buffers of its own, since the state is donated."""
    return jax.tree.map(jnp.copy, tree)


def named_key(key: PRNGKeyArray, name: str) -> PRNGKeyArray:
    """A key that depends on the name alone, not on which other names there are."""
    return jr.fold_in(key, zlib.crc32(name.encode()) & 0x7FFFFFFF)
