"""Distillation losses of one example: how far a student is from the teacher. Floor 1.

Every function maps (student_q[A], teacher_q[A], temperature) to a scalar; the caller vmaps,
averages over the batch, and has stopped the gradient into `teacher_q`.
"""

from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


class DistillLoss(Protocol):
    """What a loss function looks like; `temperature` is in units of Q and positive."""

    def __call__(
        self, student_q: Float[Array, " A"], teacher_q: Float[Array, " A"], temperature: Array
    ) -> Float[Array, ""]:
        """The loss of one example."""
        ...


def kl(student_q: Array, teacher_q: Array, temperature: Array) -> Array:
    """KL(softmax(teacher / T) || softmax(student)), nats. Rusu et al. 2015, arXiv:1511.06295, eq. 3.

    The temperature is on the teacher's side alone: the student's outputs are logits, not values.
    """
    target = jax.nn.log_softmax(teacher_q / temperature)
    return jnp.sum(jnp.exp(target) * (target - jax.nn.log_softmax(student_q)))


def reverse_kl(student_q: Array, teacher_q: Array, temperature: Array) -> Array:
    """KL(softmax(student) || softmax(teacher / T)), nats: mode-seeking, see Czarnecki et al. 2019."""
    student = jax.nn.log_softmax(student_q)
    return jnp.sum(jnp.exp(student) * (student - jax.nn.log_softmax(teacher_q / temperature)))


def nll(student_q: Array, teacher_q: Array, temperature: Array) -> Array:
    """-log softmax(student)[argmax teacher], nats. Rusu et al. 2015, eq. 1. No temperature."""
    del temperature
    return -jax.nn.log_softmax(student_q)[jnp.argmax(teacher_q)]


def mse(student_q: Array, teacher_q: Array, temperature: Array) -> Array:
    """Mean over actions of (student - teacher)^2, in Q squared. Rusu et al. 2015, eq. 2."""
    del temperature
    return jnp.mean(jnp.square(student_q - teacher_q))


def scaled_kl(student_q: Array, teacher_q: Array, temperature: Array) -> Array:
    """T * KL(softmax(teacher / T) || softmax(student / T)), in units of Q.

    With the temperature on both sides the optimum is the teacher's own values (up to a constant),
    so that a TD term on the same outputs does not pull against it; the factor T makes the gradient
    independent of T (Hinton et al. 2015, arXiv:1503.02531, section 2, has T^2 for a loss in nats).
    """
    return temperature * kl(student_q / temperature, teacher_q, temperature)


class Distillation(NamedTuple):
    """A loss that a student can be given; `td` adds the student's own double-Q TD loss."""

    loss: DistillLoss
    td: bool = False


LOSSES: dict[str, Distillation] = {
    "kl": Distillation(kl),
    "reverse-kl": Distillation(reverse_kl),
    "nll": Distillation(nll),
    "mse": Distillation(mse),
    "kl-td": Distillation(scaled_kl, td=True),
}


def action_gap(q: Float[Array, " A"]) -> Float[Array, ""]:
    """The best action's value above the second best, Bellemare et al. 2016, arXiv:1512.04860."""
    if q.shape[0] < 2:
        return jnp.zeros(())
    best = jax.lax.top_k(q, 2)[0]
    return best[0] - best[1]
