"""DQN (Mnih et al. 2015) and double DQN (van Hasselt et al. 2016, arXiv:1509.06461)."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int


@dataclass(frozen=True)
class DQN:
    """Q-learning from a replay; `double` lets the online net choose the bootstrap action."""

    double: bool = True
    regime: ClassVar[Literal["replay", "rollout"]] = "replay"
    norm: ClassVar[bool] = False

    def num_outputs(self, num_actions: int) -> int:
        """How many outputs the net needs."""
        return num_actions

    def q_values(self, outputs: Float[Array, " Q"]) -> Float[Array, " A"]:
        """Expected Q-values from the net's outputs."""
        return outputs

    def td_error(
        self,
        outputs: Float[Array, " A"],
        next_online: Float[Array, " A"],
        next_target: Float[Array, " A"],
        action: Int[Array, ""],
        reward: Float[Array, ""],
        discount: Float[Array, ""],
    ) -> Float[Array, ""]:
        """Reward + discount * bootstrap - q[action], of one example.

        `next_online` and `next_target` are the outputs at the bootstrap state; `discount` is
        gamma^n, or 0 after a terminal. No gradient flows into the target. Double DQN: eq. 4 of
        van Hasselt et al.; without it the target net both chooses and values the action.
        """
        chooser = next_online if self.double else next_target
        bootstrap = next_target[jnp.argmax(chooser)]
        return jax.lax.stop_gradient(reward + discount * bootstrap) - outputs[action]


def td_loss(error: Float[Array, "..."], kind: Literal["huber", "mse"]) -> Float[Array, "..."]:
    """Half the square of a TD error, or Huber's loss: the same up to 1, then |error| - 1/2.

    Huber's gradient is the error clipped to -1..1, Mnih et al. 2015.
    """
    return optax.losses.huber_loss(error) if kind == "huber" else 0.5 * jnp.square(error)
