"""DQN (Mnih et al. 2015) and double DQN (van Hasselt et al. 2016, arXiv:1509.06461)."""

from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from rtpd.learning.teachers.off_policy import Bootstrap, OffPolicyAlgorithm, Transition
from rtpd.networks.heads import Scalar, ValueHead


@dataclass(frozen=True)
class DQN(OffPolicyAlgorithm):
    """Q-learning from a replay; `double` lets the online net choose the bootstrap action."""

    double: bool = False
    head: ValueHead = Scalar()

    def loss(
        self,
        outputs: Float[Array, " Q"],
        bootstrap: Bootstrap,
        transition: Transition,
        kind: Literal["huber", "mse"],
    ) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """Loss of one example, and the size of its TD error, which a replay is prioritised by."""
        error = self.td_error(outputs, bootstrap, transition)
        return td_loss(error, kind), jnp.abs(error)

    def td_error(
        self, outputs: Float[Array, " A"], bootstrap: Bootstrap, transition: Transition
    ) -> Float[Array, ""]:
        """Reward + discount * bootstrap - q[action], of one example.

        Double DQN: eq. 4 of van Hasselt et al.; without it the target net both chooses and values
        the bootstrap action.
        """
        action, reward, discount = transition
        best = jnp.argmax(bootstrap.online if self.double else bootstrap.target)
        return jax.lax.stop_gradient(reward + discount * bootstrap.target[best]) - outputs[action]


@dataclass(frozen=True)
class DoubleDQN(DQN):
    """The online net chooses the bootstrap action, the target net values it."""

    double: bool = True


def td_loss(error: Float[Array, "..."], kind: Literal["huber", "mse"]) -> Float[Array, "..."]:
    """Half the square of a TD error, or Huber's loss: the same up to 1, then |error| - 1/2.

    Huber's gradient is the error clipped to -1..1, Mnih et al. 2015.
    """
    return optax.losses.huber_loss(error) if kind == "huber" else 0.5 * jnp.square(error)
