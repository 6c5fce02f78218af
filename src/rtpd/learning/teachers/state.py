"""What a teacher holds and what its updates leave behind: arrays alone."""

from typing import NamedTuple

import equinox as eqx
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from rtpd.learning.train_state import DistillationBatches, Metrics, TrainState
from rtpd.networks import qnet
from rtpd.types import Preprocess


class Rollout(NamedTuple):
    """T steps of E envs in the replay, what they are learnt towards, and in which order."""

    rows: Int[Array, " T+1"]  # of the replay; the last one only bootstraps
    returns: Float[Array, " T*E"]  # env by env within a row
    order: Int[Array, "U B"]  # of U updates, indices into `returns`
    # Of a teacher with a policy alone, like `returns`:
    value: Float[Array, " T*E"] | None = None  # of the states, by the net before these updates
    log_prob: Float[Array, " T*E"] | None = None  # of the actions, by the policy that chose them


class BestNet(NamedTuple):
    """The weights that scored best in an evaluation so far."""

    net: qnet.QNet  # without noise
    known: Bool[Array, ""]  # whether there has been an evaluation


class TeacherState(eqx.Module):
    """A teacher in training, and what its game looks like."""

    train: TrainState
    target: qnet.QNet | None  # bootstraps it, unless its own net does
    preprocess: Preprocess  # of its students, and its own unless it is frozen
    key: PRNGKeyArray
    best: BestNet | None = None  # what students follow, if they are to follow the best
    teacher_preprocess: Preprocess | None = None  # of a frozen teacher, which came with its own

    @property
    def sees(self) -> Preprocess:
        """What the teacher itself makes of frames."""
        return self.preprocess if self.teacher_preprocess is None else self.teacher_preprocess


class TeacherUpdate(NamedTuple):
    """What an update of a teacher leaves behind."""

    state: TeacherState
    batches: DistillationBatches
    metrics: Metrics
    priority: Float[Array, "C E"] | None = None  # of the replay, where it has any
