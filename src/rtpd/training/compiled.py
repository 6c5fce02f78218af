"""A learner at work: its arrays on the device, and its programs compiled; the trainer runs them."""

import math
from collections.abc import Mapping

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jax.stages import Wrapped
from jaxtyping import Array, Float

from rtpd.learning.replay import Replay
from rtpd.learning.teachers.state import BestNet
from rtpd.learning.update import Learner
from rtpd.networks import qnet
from rtpd.system import compute
from rtpd.training import snapshots
from rtpd.types import Preprocess

Means = dict[str, dict[str, float]]  # by agent and metric


class CompiledLearner:
    """Nets, the sums of their metrics, and what the next updates learn from."""

    def __init__(self, learner: Learner, replays: Mapping[str, Replay]) -> None:
        """The state at step 0; of `replays` only the shapes count."""
        config = learner.config
        self.learner, self.config = learner, config
        unseen = {game: snapshots.neutral(spec) for game, spec in learner.specs.items()}
        self.state = jax.jit(learner.init)(jr.key(config.seed), unseen)
        self._updates: dict[frozenset[str], Wrapped] = {}
        self._consolidate = compute.jit(learner.consolidate, config.compute, donate_argnums=(0, 1))
        self._plan = compute.jit(learner.plan, config.compute)
        self._diagnose = compute.jit(learner.diagnose, config.compute)
        self.rollout = jax.tree.map(
            lambda like: jnp.zeros(like.shape, like.dtype),
            jax.eval_shape(learner.plan, self.state, replays),
        )
        self.clear_sums(consolidating=False)

    def clear_sums(self, *, consolidating: bool) -> None:
        """Begin new means, of what is measured while teachers learn or rest."""
        self.totals = self.learner.zero_metrics(consolidating=consolidating)
        self._summed = 0  # updates

    def plan(self, replays: Mapping[str, Replay]) -> None:
        """Turn to the newest rollout, where teachers learn from rollouts."""
        self.rollout = self._plan(self.state, replays)

    def update(
        self, replays: Mapping[str, Replay], made: int, gone: float = 0.0
    ) -> dict[str, Float[Array, "C E"] | None]:
        """Dispatch an update of every teacher and student, `made` before it; new priorities.

        `gone`: the share of --minutes that has gone by.
        """
        self.state, self.totals, priorities = self._update_after(made, gone)(
            self.state, self.totals, replays, self.rollout
        )
        self._summed += 1
        return priorities

    def _update_after(self, made: int, gone: float = 0.0) -> Wrapped:
        """The program of the next update: another one where students learn more often."""
        learner = self.learner.after(made, gone)
        if learner.late not in self._updates:
            program = compute.jit(learner.update, self.config.compute, donate_argnums=(0, 1))
            self._updates[learner.late] = program
        return self._updates[learner.late]

    def consolidate(self, replays: Mapping[str, Replay]) -> None:
        """Dispatch updates of every student while the teachers rest, in the place of one update."""
        for _ in range(self.config.consolidation.updates):
            self.state, self.totals = self._consolidate(self.state, self.totals, replays)
            self._summed += 1

    def means(self) -> Means:
        """Mean metrics of every agent since the sums were cleared; empty without an update."""
        sums, means = jax.device_get(self.totals), Means()
        for path, total in sums.items() if self._summed else ():
            name, _, metric = path.rpartition("/")
            means.setdefault(name, {})[metric] = float(total) / self._summed
        return means

    def following(self, replays: Mapping[str, Replay], step: int) -> Means:
        """How every student follows, on states of the replays that depend on `step`."""
        key = jr.fold_in(jr.fold_in(jr.key(self.config.seed), 2), step)
        found = jax.device_get(self._diagnose(self.state, replays, key))
        return {name: {m: float(value) for m, value in row.items()} for name, row in found.items()}

    def set_preprocess(self, preprocess: Mapping[str, Preprocess]) -> None:
        """Freeze what each game's frames are centred on and scaled by."""
        self.state = eqx.tree_at(
            lambda state: [state.teachers[game].preprocess for game in preprocess],
            self.state,
            list(preprocess.values()),
        )

    def follow_best(self, game: str, net: qnet.QNet) -> None:
        """Have students who follow a game's best teacher follow this one."""
        best = BestNet(net, jnp.ones((), bool))
        self.state = eqx.tree_at(lambda state: state.teachers[game].best, self.state, best)

    @property
    def trained(self) -> dict[str, qnet.QNet]:
        """The net of every teacher and student as it is trained: no average of it."""
        teachers, agent = self.state.teachers, self.learner.agent
        trained = {agent(game, "teacher"): t.train for game, t in teachers.items()}
        return {name: state.net for name, state in (trained | self.state.students).items()}

    def update_gflop(self, replays: Mapping[str, Replay]) -> float:
        """Operations of one update, in 10^9, as XLA counts them; NaN where it does not."""
        lowered = self._update_after(0).lower(self.state, self.totals, replays, self.rollout)
        return (lowered.cost_analysis() or {}).get("flops", math.nan) / 1e9
