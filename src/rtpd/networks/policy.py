"""A net with all that it needs to act."""

from collections.abc import Callable
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from rtpd.networks.heads import Scalar, ValueHead
from rtpd.types import EnvSpec, Preprocess


class Policy(eqx.Module):
    """A net with all that it needs to act: `policy(obs)` maps raw [K *F] to Q-values [A].

    `net` maps minibatches; `q_values` takes raw stacks [N K *F]. All of it computes in float32.

    `provenance` is JSON-ready: net name, env options, commit, config digest, agent steps.
    `head` makes Q-values of the net's outputs, where a teacher has several per action.
    """

    net: Callable[[Array], Array]
    preprocess: Preprocess
    spec: EnvSpec = eqx.field(static=True)
    provenance: dict = eqx.field(static=True)
    head: ValueHead = eqx.field(static=True, default=Scalar())

    def __call__(self, obs: ArrayLike) -> Float[Array, " A"]:
        """Q-values (teacher) or preferences (students) of one observation, raw [K *F]."""
        return self.q_values(jnp.asarray(obs)[None])[0]

    def q_values(self, obs: ArrayLike) -> Float[Array, "N A"]:
        """The same of N observations, raw [N K *F]."""
        return jax.vmap(self.head)(self.net(self.preprocess(jnp.asarray(obs))))


@dataclass(frozen=True)
class HostPolicy:
    """An agent that is computed outside of JAX: an ONNX file, a compiled C net, a function.

    `q_values(obs)` maps raw NumPy stacks [N K *F] to f32[N A]; all else is as in `Policy`. `head`
    says whether these are Q-values; `model` is the ONNX file that a run of this teacher keeps.
    """

    q_values: Callable[[np.ndarray], np.ndarray]
    spec: EnvSpec
    provenance: dict
    head: ValueHead = Scalar()
    model: bytes | None = None
