"""C51 (Bellemare et al. 2017, arXiv:1707.06887), and with double Q the head of Rainbow.

Rainbow (Hessel et al. 2018, arXiv:1710.02298) adds to it prioritised replay, a dueling and noisy
net, and n-step returns, each a setting of its own; the preset `rainbow` switches all of them on.
"""

from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from rtpd.learning.teachers.dqn import DQN
from rtpd.learning.teachers.off_policy import Bootstrap, Transition
from rtpd.networks.heads import Categorical


@dataclass(frozen=True)
class C51(DQN):
    """Learns the distribution of the return as probabilities of 51 fixed values."""

    head: Categorical = Categorical()

    def loss(
        self,
        outputs: Float[Array, " Q"],
        bootstrap: Bootstrap,
        transition: Transition,
        kind: Literal["huber", "mse"],
    ) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """Cross-entropy from the projected target distribution (algorithm 1); also as the TD error.

        `kind` is of no account here. Rainbow's priority is the same up to the target's entropy.
        """
        del kind
        action, reward, discount = transition
        best = jnp.argmax(self.head(bootstrap.online if self.double else bootstrap.target))
        chances = jax.nn.softmax(bootstrap.target.reshape(-1, self.head.atoms)[best])
        target = jax.lax.stop_gradient(self.project(reward + discount * self.head.support, chances))
        log_chances = jax.nn.log_softmax(outputs.reshape(-1, self.head.atoms)[action])
        loss = -jnp.sum(target * log_chances)
        return loss, loss

    def project(
        self, values: Float[Array, " N"], chances: Float[Array, " N"]
    ) -> Float[Array, " N"]:
        """Share the chance of each value, clipped to the support, between its two neighbours."""
        gap = 2 * self.head.limit / (self.head.atoms - 1)
        values = jnp.clip(values, -self.head.limit, self.head.limit)
        distance = jnp.abs(values[None, :] - self.head.support[:, None]) / gap
        return jnp.clip(1 - distance, 0.0, 1.0) @ chances


@dataclass(frozen=True)
class Rainbow(C51):
    """C51 whose bootstrap action is chosen by the online net."""

    double: bool = True
