"""A frozen teacher that is computed outside of JAX: an ONNX file, a Python function.

It is asked once for each frame that is played, when actions are chosen, and its answers are kept in
the replay: no update asks it again.
"""

from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from rtpd.config.settings import Follow
from rtpd.learning import replay as ring
from rtpd.learning.teachers.frozen import FrozenTeacher
from rtpd.learning.teachers.state import TeacherState
from rtpd.learning.train_state import Target, TrainState, named_key
from rtpd.networks.policy import HostPolicy
from rtpd.networks.qnet import QNet
from rtpd.types import Preprocess


@dataclass(frozen=True)
class HostTeacher(FrozenTeacher):
    """Its students' targets are the stored ones; `policy.q_values` is asked by the collector."""

    policy: HostPolicy

    def init(self, key: PRNGKeyArray, preprocess: Preprocess) -> TeacherState:
        """No weights: a net without layers stands in their place."""
        train = TrainState(QNet((), ()), None)
        return TeacherState(train, None, preprocess, named_key(key, "updates"))

    def diagnostic_batch(
        self, state: TeacherState, replay: ring.Replay, key: PRNGKeyArray, batch_size: int
    ) -> tuple[Float[Array, "B ..."], dict[Follow, Target]]:
        """Replayed states as students see them, and what it has answered there."""
        row, env = ring.draw(replay, key, batch_size, self.spec.stack, self.n_step)
        x = self.preprocessed(state.preprocess, ring.stacks(replay, row, env, self.spec.stack))
        answered = self._as_target(jnp.asarray(replay.q)[row, env])
        return x, dict.fromkeys(self._followed, answered)
