"""PQN (Gallici et al. 2024, arXiv:2407.04811): Q-learning from fresh rollouts of many envs.

No replay and no target net: the net's hidden layer is normalised instead, which is what keeps the
bootstrap from running away (section 3 of the paper).
"""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int

from rtpd.config.settings import Config
from rtpd.learning.teachers.dqn import td_loss
from rtpd.learning.teachers.on_policy import OnPolicyAlgorithm, RolloutSteps
from rtpd.networks.heads import Scalar, ValueHead


@dataclass(frozen=True)
class PQN(OnPolicyAlgorithm):
    """Q-learning towards Q(lambda) returns of the newest rollout, in several epochs."""

    head: ValueHead = Scalar()
    layer_norm: ClassVar[bool] = True

    def returns(
        self,
        reward: Float[Array, " T"],
        terminal: Bool[Array, " T"],
        last: Bool[Array, " T+1"],
        value: Float[Array, " T+1"],
        config: Config,
    ) -> Float[Array, " T"]:
        """Q(lambda) returns of T steps of one env."""
        gamma, lam = config.teacher.gamma, config.rollout.td_lambda
        return lambda_returns(reward, terminal, last, value, gamma=gamma, lam=lam)

    def losses(
        self, outputs: Float[Array, "B Q"], steps: RolloutSteps, config: Config
    ) -> Float[Array, " B"]:
        """Loss of each step of a minibatch."""
        loss = partial(self.loss, kind=config.teacher.loss)
        return jax.vmap(loss)(jax.vmap(self.head)(outputs), steps.action, steps.returns)

    def loss(
        self, q: Float[Array, " A"], action: Int[Array, ""], returns: Float[Array, ""],
        kind: Literal["huber", "mse"],
    ) -> Float[Array, ""]:  # fmt: skip
        """Half the squared error of the action's value, or Huber's loss of it."""
        return td_loss(returns - q[action], kind)


def lambda_returns(
    reward: Float[Array, " T"],
    terminal: Bool[Array, " T"],
    last: Bool[Array, " T+1"],
    value: Float[Array, " T+1"],
    *,
    gamma: ArrayLike,
    lam: ArrayLike,
) -> Float[Array, " T"]:
    """Q(lambda) returns of one env over T steps, without importance weights (eq. 5 of the paper).

    R[t] = reward[t] + gamma * (lam * R[t+1] + (1 - lam) * value[t+1]), with value[t] that of the
    t-th state (here max_a Q); the reward alone at a terminal; and value[t+1] whole where nothing of
    the same episode follows it: where row t+1 is `last`, or is the end of the rollout. The return
    of a row that is itself `last` means nothing: its action was ignored.
    """

    def back(follows: Array, row: tuple[Array, Array, Array, Array]) -> tuple[Array, Array]:
        reward, terminal, last_next, value_next = row
        mixed = lam * follows + (1 - lam) * value_next
        bootstrap = jnp.where(last_next, value_next, mixed)
        found = reward + gamma * jnp.where(terminal, 0.0, bootstrap)
        return found, found

    rows = (reward, terminal, last[1:], value[1:])
    return jax.lax.scan(back, value[-1], rows, reverse=True)[1]
