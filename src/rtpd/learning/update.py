"""THE compiled update: every game's teacher, then every student, in one program.

The one seam of the method: students see `q[B A]` of the minibatch, which the teacher's own TD loss
has just computed, and never the teacher's weights. The law kept by tests: on CPU a teacher's
weights are bit-identical with no student, one or five, and alone or beside other games.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import get_args

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from rtpd.config.settings import Config, Targets
from rtpd.learning import replay as ring
from rtpd.learning import students
from rtpd.learning.distillation import agreement, dead_share
from rtpd.learning.schedule import Pace
from rtpd.learning.student_spec import StudentSpec, parse_students
from rtpd.learning.students import Heads
from rtpd.learning.teaching import Rollout, TeacherState, Teaching
from rtpd.learning.train_state import Metrics, Model, acting_net
from rtpd.types import EnvSpec, Policy, Preprocess

Replays = Mapping[str, ring.Replay]
Rollouts = Mapping[str, Rollout | None]


class LearnerState(eqx.Module):
    """All that the update reads and writes."""

    teachers: dict[str, TeacherState]  # by game
    students: dict[str, Model]  # by name
    updates: Int[Array, ""]


@dataclass(frozen=True)
class Learner:
    """The static side of an update: what `config` and each game's spec make of it.

    With several games the students are shared: one body, and a head of outputs for each game.
    """

    config: Config
    specs: Mapping[str, EnvSpec]  # by game
    policies: Mapping[str, Policy] = field(default_factory=dict)  # of teachers that learnt before

    @property
    def teachings(self) -> dict[str, Teaching]:
        """How each game's teacher learns."""
        return {
            game: Teaching(self.config, spec, self.policies.get(game))
            for game, spec in self.specs.items()
        }

    @property
    def pace(self) -> Pace:
        """When the teachers learn, all at the same time."""
        return Pace(self.config)

    @property
    def students(self) -> tuple[StudentSpec, ...]:
        """The students, in the order of the command line."""
        return parse_students(self.config)

    @property
    def heads(self) -> Heads:
        """Where each game's outputs are among a student's."""
        return students.heads(self.specs)

    def agent(self, game: str, name: str) -> str:
        """What a net is called where it plays a game: by its own name if there is only one."""
        return name if len(self.specs) == 1 else f"{game}/{name}"

    def init(self, key: PRNGKeyArray, preprocess: Mapping[str, Preprocess]) -> LearnerState:
        """Fresh nets. Each draws from its own key, so no student changes another or the teacher."""
        return LearnerState(
            {game: t.init(key, preprocess[game]) for game, t in self.teachings.items()},
            students.init(self.config, self.specs, key),
            jnp.zeros((), jnp.int32),
        )

    def zero_metrics(self, *, consolidating: bool = False) -> Metrics:
        """Sums that `update` adds to, or `consolidate`; divide by the number of updates."""
        names = [
            f"{self.agent(game, 'teacher')}/{metric}"
            for game, teaching in self.teachings.items()
            for metric in (("q",) if consolidating else teaching.metrics)
        ]
        names += [f"{student.name}/loss" for student in self.students]
        return {name: jnp.zeros(()) for name in names}

    def rollout(self, state: LearnerState, replays: Replays) -> Rollouts:
        """What the next `pace.updates_per_rollout` updates learn from; None: from the replay."""
        return {
            game: teaching.rollout(state.teachers[game], replays[game])
            for game, teaching in self.teachings.items()
        }

    def update(
        self, state: LearnerState, totals: Metrics, replays: Replays, rollouts: Rollouts
    ) -> tuple[LearnerState, Metrics, dict[str, Float[Array, "C E"] | None]]:
        """One update of every teacher and every student. Jit it, state and totals donated.

        Returns the new state, the new sums, and the replays' new priorities where they have any.
        """
        taught = {
            game: teaching.teach(state.teachers[game], state.updates, replays[game], rollouts[game])
            for game, teaching in self.teachings.items()
        }
        models, metrics = state.students, {}
        count = max((student.how.updates for student in self.students), default=0)
        for i, targets in itertools.product(range(count), get_args(Targets)):
            learning = {
                s.name: models[s.name]
                for s in self.students
                if s.how.updates > i and s.how.targets == targets
            }
            if learning:
                lessons = {game: t.lessons[i][targets] for game, t in taught.items()}
                improved, losses = students.improve(
                    self.config, self.heads, learning, lessons, state.updates
                )
                models, metrics = models | improved, metrics | losses
        for game, t in taught.items():
            metrics |= {f"{self.agent(game, 'teacher')}/{m}": x for m, x in t.metrics.items()}
        totals = {name: totals[name] + metrics[name] for name in totals}
        teachers = {game: t.state for game, t in taught.items()}
        state = LearnerState(teachers, models, state.updates + 1)
        return state, totals, {game: t.priority for game, t in taught.items()}

    def consolidate(
        self, state: LearnerState, totals: Metrics, replays: Replays
    ) -> tuple[LearnerState, Metrics]:
        """One update of every student while the teachers rest, towards what these have answered.

        Jit it, state and totals donated. Returns the new state and the new sums.
        """
        taught = {
            game: teaching.recall(state.teachers[game], replays[game])
            for game, teaching in self.teachings.items()
        }
        lessons = {game: t.lessons[0]["stored"] for game, t in taught.items()}
        models, metrics = students.improve(
            self.config, self.heads, state.students, lessons, state.updates
        )
        for game, t in taught.items():
            metrics |= {f"{self.agent(game, 'teacher')}/{m}": x for m, x in t.metrics.items()}
        totals = {name: totals[name] + metrics[name] for name in totals}
        teachers = {game: t.state for game, t in taught.items()}
        return LearnerState(teachers, models, state.updates + 1), totals

    def diagnose(
        self, state: LearnerState, replays: Replays, key: PRNGKeyArray, batch_size: int = 256
    ) -> dict[str, Metrics]:
        """How well each student follows, on states of each replay: `advantage_kept`, `dead`, ...

        By agent; students of several games also have the means under their own name.
        """
        found = {}
        for game, teaching in self.teachings.items():
            x, q = teaching.examine(state.teachers[game], replays[game], key, batch_size)
            for student in self.students:
                outputs, hidden = acting_net(state.students[student.name]).trace(x)
                row = agreement(outputs[:, self.heads[game]], q[student.how.follow])
                found[self.agent(game, student.name)] = row | {"dead": dead_share(hidden)}
        if len(self.specs) > 1:
            for name in state.students:
                rows = [found[self.agent(game, name)] for game in self.specs]
                found[name] = {
                    what: jnp.mean(jnp.stack([row[what] for row in rows]))
                    for what in ("advantage_kept", "agreement")
                }
        return found
