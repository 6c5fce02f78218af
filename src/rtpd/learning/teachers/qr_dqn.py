"""QR-DQN (Dabney et al. 2018, arXiv:1710.10044)."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from rtpd.learning.teachers.dqn import DQN, Ends, Transition, td_loss


@dataclass(frozen=True)
class QRDQN(DQN):
    """Learns the distribution of the return as 200 quantiles of equal weight."""

    double: bool = False
    paper: str = "Dabney et al. 2018"
    atoms: ClassVar[int] = 200

    def q_values(self, outputs: Float[Array, " Q"]) -> Float[Array, " A"]:
        """Means of the quantiles; outputs hold those of action after action."""
        return jnp.mean(outputs.reshape(-1, self.atoms), axis=1)

    def loss(
        self,
        outputs: Float[Array, " Q"],
        ends: Ends,
        transition: Transition,
        kind: Literal["huber", "mse"],
    ) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """Quantile Huber loss (eq. 10 with kappa = 1), summed over quantiles; also the surprise.

        With `kind` mse half the square stands in the place of Huber's loss.
        """
        action, reward, discount = transition
        best = jnp.argmax(self.q_values(ends.online if self.double else ends.target))
        target = reward + discount * ends.target.reshape(-1, self.atoms)[best]
        quantiles = outputs.reshape(-1, self.atoms)[action]
        error = jax.lax.stop_gradient(target)[None, :] - quantiles[:, None]
        middle = (jnp.arange(self.atoms) + 0.5) / self.atoms
        weight = jnp.abs(middle[:, None] - (jax.lax.stop_gradient(error) < 0))
        loss = jnp.sum(jnp.mean(weight * td_loss(error, kind), axis=1))
        return loss, loss
