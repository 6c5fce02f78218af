"""PQN (Gallici et al. 2024, arXiv:2407.04811): Q-learning from fresh rollouts of many envs.

No replay and no target net: the net's hidden layer is normalised instead, which is what keeps the
bootstrap from running away (section 3 of the paper).
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


@dataclass(frozen=True)
class PQN:
    """Q-learning towards Q(lambda) returns of the newest rollout, in several epochs."""

    paper: ClassVar[str] = "Gallici et al. 2024"
    regime: ClassVar[Literal["replay", "rollout"]] = "rollout"
    norm: ClassVar[bool] = True
    atoms: ClassVar[int] = 1  # outputs per action

    def q_values(self, outputs: Float[Array, " Q"]) -> Float[Array, " A"]:
        """Expected Q-values from the net's outputs."""
        return outputs


def lambda_returns(
    reward: Float[Array, " T"],
    terminal: Bool[Array, " T"],
    last: Bool[Array, " T+1"],
    value: Float[Array, " T+1"],
    *,
    gamma: float,
    lam: float,
) -> Float[Array, " T"]:
    """Q(lambda) returns of one env over T steps, without importance weights (eq. 5 of the paper).

    R[t] = reward[t] + gamma * (lam * R[t+1] + (1 - lam) * value[t+1]), with value[t] = max_a Q of
    the t-th state; the reward alone at a terminal; and value[t+1] whole where nothing of the same
    episode follows it: where row t+1 is `last`, or is the end of the rollout. The return of a row
    that is itself `last` means nothing: its action was ignored.
    """

    def back(follows: Array, row: tuple[Array, Array, Array, Array]) -> tuple[Array, Array]:
        reward, terminal, last_next, value_next = row
        mixed = lam * follows + (1 - lam) * value_next
        bootstrap = jnp.where(last_next, value_next, mixed)
        found = reward + gamma * jnp.where(terminal, 0.0, bootstrap)
        return found, found

    rows = (reward, terminal, last[1:], value[1:])
    return jax.lax.scan(back, value[-1], rows, reverse=True)[1]
