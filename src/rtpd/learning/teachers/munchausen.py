"""Munchausen-DQN (Vieillard et al. 2020, arXiv:2007.14430)."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from rtpd.learning.teachers.dqn import DQN
from rtpd.learning.teachers.off_policy import Bootstrap, Transition


@dataclass(frozen=True)
class Munchausen(DQN):
    """DQN whose reward is raised by the scaled log-policy and whose bootstrap is soft.

    The policy is softmax(q / temperature) of the target net. With n-step returns the first action
    alone earns the bonus; the paper's returns are of one step.
    """

    needs_current: ClassVar[bool] = True
    temperature: float = 0.03
    scale: float = 0.9  # alpha
    least_log_policy: float = -1.0  # l0, of temperature * log policy

    def td_error(
        self, outputs: Float[Array, " A"], bootstrap: Bootstrap, transition: Transition
    ) -> Float[Array, ""]:
        """Eq. 2 of the paper: r + alpha [tau ln pi(a|s)] + discount * E_pi'[q' - tau ln pi'] - q.

        The last expectation is tau * logsumexp(q' / tau).
        """
        action, reward, discount = transition
        current = jnp.asarray(bootstrap.current)
        log_policy = self.temperature * jax.nn.log_softmax(current / self.temperature)[action]
        bonus = self.scale * jnp.clip(log_policy, self.least_log_policy, 0.0)
        soft = self.temperature * jax.nn.logsumexp(bootstrap.target / self.temperature)
        target = jax.lax.stop_gradient(reward + bonus + discount * soft)
        return target - outputs[action]
