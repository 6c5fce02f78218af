"""Distillation losses of one example: how far a student is from the teacher.

Every function maps (student_q[A], teacher_q[A], temperature) to a scalar; the caller vmaps,
averages over the batch, and has stopped the gradient into `teacher_q`.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

Values = Float[Array, " A"]
Loss = Float[Array, ""]


def kl(student_q: Values, teacher_q: Values, temperature: ArrayLike) -> Loss:
    """KL(softmax(teacher / T) || softmax(student)), nats: Rusu et al. 2015, arXiv:1511.06295.

    The temperature is on the teacher's side alone: the student's outputs are logits, not values.
    """
    target = jax.nn.log_softmax(teacher_q / temperature)
    return jnp.sum(jnp.exp(target) * (target - jax.nn.log_softmax(student_q)))


def reverse_kl(student_q: Values, teacher_q: Values, temperature: ArrayLike) -> Loss:
    """KL(softmax(student) || softmax(teacher / T)), nats: mode-seeking (Czarnecki et al. 2019)."""
    student = jax.nn.log_softmax(student_q)
    return jnp.sum(jnp.exp(student) * (student - jax.nn.log_softmax(teacher_q / temperature)))


def nll(student_q: Values, teacher_q: Values, temperature: ArrayLike) -> Loss:
    """-log softmax(student)[argmax teacher], nats (Rusu et al. 2015). No temperature."""
    del temperature
    return -jax.nn.log_softmax(student_q)[jnp.argmax(teacher_q)]


def mse(student_q: Values, teacher_q: Values, temperature: ArrayLike) -> Loss:
    """Mean over actions of (student - teacher)^2, in Q squared (Rusu et al. 2015)."""
    del temperature
    return jnp.mean(jnp.square(student_q - teacher_q))


def scaled_kl(student_q: Values, teacher_q: Values, temperature: ArrayLike) -> Loss:
    """T * KL(softmax(teacher / T) || softmax(student / T)), in units of Q.

    With the temperature on both sides the optimum is the teacher's own values (up to a constant),
    so that a TD term on the same outputs does not pull against it; the factor T makes the gradient
    the difference of the two policies, which depends on Q / T alone and has the size of a TD error.
    """
    return jnp.multiply(temperature, kl(student_q / temperature, teacher_q, temperature))


class DistillationLoss(NamedTuple):
    """A loss that a student can be given.

    `needs_q`: it follows Q-values, which not every teacher has; `td` adds the student's own
    double-Q TD loss. `options`: further keyword arguments of the loss and their defaults, which a
    student's text can set, as in "net1.7:NAME:KEY=0.5".
    """

    loss: Callable[..., Float[Array, ""]]
    needs_q: bool = False
    td: bool = False
    options: Mapping[str, float] = MappingProxyType({})


LOSSES: dict[str, DistillationLoss] = {
    "kl": DistillationLoss(kl),
    "reverse-kl": DistillationLoss(reverse_kl),
    "nll": DistillationLoss(nll),
    "mse": DistillationLoss(mse, needs_q=True),
    "kl-td": DistillationLoss(scaled_kl, needs_q=True, td=True),
}


def student_metrics(outputs: Float[Array, "B A"], q: Float[Array, "B A"]) -> dict[str, Array]:
    """How a student's outputs follow the teacher's Q-values on B states, as scalars.

    advantage_kept: 1 - E[max_a q - q(s, student's action)] / E[max_a q - mean_a q], the teacher's
    advantage over a random action that the student's actions keep, in the teacher's own values: 1
    is the teacher, 0 is chance; constant_advantage_kept: what the best constant policy would keep.
    agreement: share of states with the teacher's greedy action, which says little where actions
    are as good as equal; constant_agreement: what the best constant policy would get; spread: share
    of the outputs' variance that lies between states rather than between actions (0: the same
    output for every state, a collapsed student).
    """
    greedy, chosen = jnp.argmax(q, axis=1), jnp.argmax(outputs, axis=1)
    best = jnp.mean(jnp.max(q, axis=1))
    advantage = jnp.maximum(best - jnp.mean(q), 1e-30)
    value = jnp.mean(jnp.take_along_axis(q, chosen[:, None], axis=1))
    counts = jnp.sum(jax.nn.one_hot(greedy, q.shape[1]), axis=0)
    preference = outputs - jnp.mean(outputs, axis=1, keepdims=True)
    between_states = jnp.mean(jnp.var(preference, axis=0))
    return {
        "advantage_kept": 1 - (best - value) / advantage,
        "constant_advantage_kept": 1 - (best - jnp.max(jnp.mean(q, axis=0))) / advantage,
        "agreement": jnp.mean(chosen == greedy),
        "constant_agreement": jnp.max(counts) / q.shape[0],
        "spread": between_states / jnp.maximum(jnp.var(preference), 1e-30),
    }


def dead_share(hidden: list[Float[Array, "B ..."]]) -> Float[Array, ""]:
    """Share of the hidden ReLU units that are 0 on all B states; one array per layer."""
    silent = [jnp.all(h.reshape(h.shape[0], -1) <= 0, axis=0) for h in hidden]
    return jnp.mean(jnp.concatenate(silent))


def certainty(q: Float[Array, " A"], temperature: ArrayLike) -> Float[Array, ""]:
    """How far softmax(q / T) is from indifference: 1 - entropy / log A, from 0 to 1."""
    return 1 - entropy(q / temperature) / jnp.log(max(q.shape[0], 2))


def entropy(logits: Float[Array, " A"]) -> Float[Array, ""]:
    """Entropy of softmax(logits), nats."""
    log_policy = jax.nn.log_softmax(logits)
    return -jnp.sum(jnp.exp(log_policy) * log_policy)


def action_gap(q: Float[Array, " A"]) -> Float[Array, ""]:
    """The best action's value above the second best, Bellemare et al. 2016, arXiv:1512.04860."""
    if q.shape[0] < 2:
        return jnp.zeros(())
    best = jax.lax.top_k(q, 2)[0]
    return best[0] - best[1]
