"""C51 (Bellemare et al. 2017, arXiv:1707.06887), and with double Q the head of Rainbow.

Rainbow (Hessel et al. 2018, arXiv:1710.02298) adds to it prioritised replay, a dueling and noisy
net, and n-step returns, each a setting of its own; the preset `rainbow` switches all of them on.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from rtpd.learning.teachers.dqn import DQN, Ends, Transition


@dataclass(frozen=True)
class C51(DQN):
    """Learns the distribution of the return as probabilities of 51 fixed values."""

    double: bool = False
    paper: str = "Bellemare et al. 2017"
    atoms: ClassVar[int] = 51
    limit: float = 10.0  # values lie evenly between -limit and limit

    @property
    def support(self) -> Float[Array, " N"]:
        """The values of the return."""
        return jnp.linspace(-self.limit, self.limit, self.atoms)

    def q_values(self, outputs: Float[Array, " Q"]) -> Float[Array, " A"]:
        """Means of the distributions; outputs are logits, action by action."""
        return jax.nn.softmax(outputs.reshape(-1, self.atoms)) @ self.support

    def loss(
        self,
        outputs: Float[Array, " Q"],
        ends: Ends,
        transition: Transition,
        kind: Literal["huber", "mse"],
    ) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """Cross-entropy from the projected target distribution (algorithm 1); also the surprise.

        `kind` is of no account here. Rainbow's priority is the same up to the target's entropy.
        """
        del kind
        action, reward, discount = transition
        best = jnp.argmax(self.q_values(ends.online if self.double else ends.target))
        chances = jax.nn.softmax(ends.target.reshape(-1, self.atoms)[best])
        target = jax.lax.stop_gradient(self.project(reward + discount * self.support, chances))
        log_chances = jax.nn.log_softmax(outputs.reshape(-1, self.atoms)[action])
        loss = -jnp.sum(target * log_chances)
        return loss, loss

    def project(
        self, values: Float[Array, " N"], chances: Float[Array, " N"]
    ) -> Float[Array, " N"]:
        """Share the chance of each value, clipped to the support, between its two neighbours."""
        gap = 2 * self.limit / (self.atoms - 1)
        values = jnp.clip(values, -self.limit, self.limit)
        distance = jnp.abs(values[None, :] - self.support[:, None]) / gap
        return jnp.clip(1 - distance, 0.0, 1.0) @ chances
