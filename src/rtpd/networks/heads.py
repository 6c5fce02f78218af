"""From the outputs of a net to one number an action."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


@dataclass(frozen=True)
class ValueHead(ABC):
    """How Q-values are read from the outputs of a net, `atoms` of them an action.

    `gives_q`: whether they are Q-values; of a teacher with a policy alone they are its logits.
    `extra`: outputs behind those of the actions, which only its training needs.
    """

    atoms: int
    gives_q: ClassVar[bool] = True
    extra: ClassVar[int] = 0

    @property
    def acting(self) -> "ValueHead":
        """The head of the same net without its extra outputs, as agents are kept."""
        return self

    @abstractmethod
    def __call__(self, outputs: Float[Array, " Q"]) -> Float[Array, " A"]:
        """Q-values, or logits, of one example; outputs are those of action after action."""


@dataclass(frozen=True)
class Scalar(ValueHead):
    """One output an action, which is its value (or, of a student, its logit)."""

    atoms: int = 1

    def __call__(self, outputs: Float[Array, " Q"]) -> Float[Array, " A"]:
        """The outputs themselves."""
        return outputs


@dataclass(frozen=True)
class Logits(Scalar):
    """One output an action, the logit of a policy (PPO, A2C): there are no Q-values."""

    gives_q: ClassVar[bool] = False


@dataclass(frozen=True)
class ActorCritic(Logits):
    """The logits of a policy, and behind them the value of the state."""

    extra: ClassVar[int] = 1

    @property
    def acting(self) -> ValueHead:
        """The policy alone."""
        return Logits()

    def __call__(self, outputs: Float[Array, " Q"]) -> Float[Array, " A"]:
        """The logits."""
        return outputs[:-1]


@dataclass(frozen=True)
class Categorical(ValueHead):
    """Logits of fixed returns, evenly between -limit and limit (Bellemare et al. 2017)."""

    atoms: int = 51
    limit: float = 10.0

    @property
    def support(self) -> Float[Array, " N"]:
        """The values of the return."""
        return jnp.linspace(-self.limit, self.limit, self.atoms)

    def __call__(self, outputs: Float[Array, " Q"]) -> Float[Array, " A"]:
        """Means of the distributions."""
        return jax.nn.softmax(outputs.reshape(-1, self.atoms)) @ self.support


@dataclass(frozen=True)
class Quantile(ValueHead):
    """Quantiles of the return, of equal weight (Dabney et al. 2018)."""

    atoms: int = 200

    def __call__(self, outputs: Float[Array, " Q"]) -> Float[Array, " A"]:
        """Means of the quantiles."""
        return jnp.mean(outputs.reshape(-1, self.atoms), axis=1)
