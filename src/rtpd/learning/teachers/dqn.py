"""DQN (Mnih et al. 2015) and double DQN (van Hasselt et al. 2016, arXiv:1509.06461)."""

from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int


class Ends(NamedTuple):
    """What a teacher bootstraps from, of one example; no gradient flows into it."""

    online: Float[Array, " Q"]  # the online net's outputs at the bootstrap state
    target: Float[Array, " Q"]  # the target net's outputs there
    here: Float[Array, " Q"] | None = None  # the target net's outputs at the state itself


class Transition(NamedTuple):
    """What was done in a state and what came of it, of one example."""

    action: Int[Array, ""]
    reward: Float[Array, ""]  # n-step
    discount: Float[Array, ""]  # gamma^n, or 0 after a terminal


@dataclass(frozen=True)
class DQN:
    """Q-learning from a replay; `double` lets the online net choose the bootstrap action."""

    double: bool = True
    paper: str = "van Hasselt et al. 2016"
    regime: ClassVar[Literal["replay", "rollout"]] = "replay"
    norm: ClassVar[bool] = False
    atoms: ClassVar[int] = 1  # outputs per action
    looks_here: ClassVar[bool] = False  # whether it needs `Ends.here`

    def q_values(self, outputs: Float[Array, " Q"]) -> Float[Array, " A"]:
        """Expected Q-values from the net's outputs."""
        return outputs

    def loss(
        self,
        outputs: Float[Array, " Q"],
        ends: Ends,
        transition: Transition,
        kind: Literal["huber", "mse"],
    ) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """Loss of one example, and its surprise: what a prioritised replay samples by."""
        error = self.td_error(outputs, ends, transition)
        return td_loss(error, kind), jnp.abs(error)

    def td_error(
        self, outputs: Float[Array, " A"], ends: Ends, transition: Transition
    ) -> Float[Array, ""]:
        """Reward + discount * bootstrap - q[action], of one example.

        Double DQN: eq. 4 of van Hasselt et al.; without it the target net both chooses and values
        the bootstrap action.
        """
        action, reward, discount = transition
        best = jnp.argmax(ends.online if self.double else ends.target)
        return jax.lax.stop_gradient(reward + discount * ends.target[best]) - outputs[action]


def td_loss(error: Float[Array, "..."], kind: Literal["huber", "mse"]) -> Float[Array, "..."]:
    """Half the square of a TD error, or Huber's loss: the same up to 1, then |error| - 1/2.

    Huber's gradient is the error clipped to -1..1, Mnih et al. 2015.
    """
    return optax.losses.huber_loss(error) if kind == "huber" else 0.5 * jnp.square(error)
