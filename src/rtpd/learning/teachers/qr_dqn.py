"""QR-DQN (Dabney et al. 2018, arXiv:1710.10044)."""

from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from rtpd.learning.teachers.dqn import DQN, td_loss
from rtpd.learning.teachers.off_policy import Bootstrap, Transition
from rtpd.networks.heads import Quantile


@dataclass(frozen=True)
class QRDQN(DQN):
    """Learns the distribution of the return as 200 quantiles of equal weight."""

    head: Quantile = Quantile()

    def loss(
        self,
        outputs: Float[Array, " Q"],
        bootstrap: Bootstrap,
        transition: Transition,
        kind: Literal["huber", "mse"],
    ) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """Quantile Huber loss (eq. 10 with kappa = 1), summed over quantiles; also as the TD error.

        With `kind` mse half the square stands in the place of Huber's loss.
        """
        action, reward, discount = transition
        best = jnp.argmax(self.head(bootstrap.online if self.double else bootstrap.target))
        target = reward + discount * bootstrap.target.reshape(-1, self.head.atoms)[best]
        quantiles = outputs.reshape(-1, self.head.atoms)[action]
        error = jax.lax.stop_gradient(target)[None, :] - quantiles[:, None]
        middle = (jnp.arange(self.head.atoms) + 0.5) / self.head.atoms
        weight = jnp.abs(middle[:, None] - (jax.lax.stop_gradient(error) < 0))
        loss = jnp.sum(jnp.mean(weight * td_loss(error, kind), axis=1))
        return loss, loss
