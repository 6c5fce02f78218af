"""THE compiled update: every game's teacher, then every student, in one program.

The one seam of the method: students see what the teacher answers on a minibatch, `Target`, and
never the teacher's weights. The law kept by tests: on CPU a teacher's weights are bit-identical
with no student, one or five, and alone or beside other games.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import get_args

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from rtpd.config.settings import Config, Targets
from rtpd.learning import replay as ring
from rtpd.learning.distillation import dead_share, student_metrics
from rtpd.learning.schedule import UpdateSchedule
from rtpd.learning.student_spec import StudentSpec, parse_students
from rtpd.learning.students import ActionSlices, Students
from rtpd.learning.teachers import make_teacher, schedule_of
from rtpd.learning.teachers.base import Teacher
from rtpd.learning.teachers.state import Rollout, TeacherState
from rtpd.learning.train_state import Metrics, TrainState
from rtpd.networks.policy import HostPolicy, Policy
from rtpd.types import EnvSpec, Preprocess

Replays = Mapping[str, ring.Replay]
Rollouts = Mapping[str, Rollout | None]


class LearnerState(eqx.Module):
    """All that the update reads and writes."""

    teachers: dict[str, TeacherState]  # by game
    students: dict[str, TrainState]  # by name
    updates: Int[Array, ""]


@dataclass(frozen=True)
class Learner:
    """The static side of an update: what `config` and each game's spec make of it.

    With several games the students are shared: one body, and a slice of outputs for each game.
    """

    config: Config
    specs: Mapping[str, EnvSpec]  # by game
    policies: Mapping[str, Policy | HostPolicy] = field(default_factory=dict)  # of frozen teachers
    late: frozenset[str] = frozenset()  # students that learn more often, at the end of the run

    @cached_property
    def students(self) -> tuple[StudentSpec, ...]:
        """The students, in the order of the command line."""
        found = parse_students(self.config)
        return tuple(replace(student, late=student.name in self.late) for student in found)

    @cached_property
    def teachers(self) -> dict[str, Teacher]:
        """Each game's teacher."""
        return {
            game: make_teacher(self.config, spec, self.students, self.policies.get(game))
            for game, spec in self.specs.items()
        }

    @cached_property
    def schedule(self) -> UpdateSchedule:
        """When the teachers learn, all at the same time."""
        return schedule_of(self.config)

    def after(self, updates: int, gone: float = 0.0) -> "Learner":
        """This learner after so many updates and a share of --minutes: with its late students."""
        late = frozenset(
            student.name
            for student in self.students
            if student.late_updates > student.settings.updates
            and self.schedule.is_late(student.settings.late_share, updates, gone)
        )
        return replace(self, late=late)

    @property
    def action_slices(self) -> ActionSlices:
        """Where each game's outputs are among a student's."""
        return self._family.action_slices

    @cached_property
    def _family(self) -> Students:
        return Students(self.config, self.specs, self.students, self.schedule)

    def agent(self, game: str, name: str) -> str:
        """What a net is called where it plays a game: by its own name if there is only one."""
        return name if len(self.specs) == 1 else f"{game}/{name}"

    def init(self, key: PRNGKeyArray, preprocess: Mapping[str, Preprocess]) -> LearnerState:
        """Fresh nets. Each draws from its own key, so no student changes another or the teacher."""
        return LearnerState(
            {game: teacher.init(key, preprocess[game]) for game, teacher in self.teachers.items()},
            self._family.init(key),
            jnp.zeros((), jnp.int32),
        )

    def zero_metrics(self, *, consolidating: bool = False) -> Metrics:
        """Sums that `update` adds to, or `consolidate`; divide by the number of updates."""
        names = [
            f"{self.agent(game, 'teacher')}/{metric}"
            for game, teacher in self.teachers.items()
            for metric in (teacher.resting_metrics if consolidating else teacher.metrics)
        ]
        names += [f"{student.name}/loss" for student in self.students]
        return {name: jnp.zeros(()) for name in names}

    def plan(self, state: LearnerState, replays: Replays) -> Rollouts:
        """What the next `updates_per_rollout` updates learn from; None: from the replay."""
        return {
            game: teacher.plan(state.teachers[game], replays[game])
            for game, teacher in self.teachers.items()
        }

    def update(
        self, state: LearnerState, totals: Metrics, replays: Replays, rollouts: Rollouts
    ) -> tuple[LearnerState, Metrics, dict[str, Float[Array, "C E"] | None]]:
        """One update of every teacher and every student. Jit it, state and totals donated.

        Returns the new state, the new sums, and the replays' new priorities where they have any.
        """
        learnt = {
            game: teacher.update(state.teachers[game], state.updates, replays[game], rollouts[game])
            for game, teacher in self.teachers.items()
        }
        states, metrics = state.students, {}
        count = max((student.updates for student in self.students), default=0)
        for i, targets in itertools.product(range(count), get_args(Targets)):
            learning = {
                s.name: states[s.name]
                for s in self.students
                if s.updates > i and s.settings.targets == targets
            }
            if learning:
                batches = {game: t.batches[i][targets] for game, t in learnt.items()}
                updated, losses = self._family.update(learning, batches, state.updates)
                states, metrics = states | updated, metrics | losses
        for game, t in learnt.items():
            metrics |= {f"{self.agent(game, 'teacher')}/{m}": x for m, x in t.metrics.items()}
        totals = {name: totals[name] + metrics[name] for name in totals}
        teachers = {game: t.state for game, t in learnt.items()}
        state = LearnerState(teachers, states, state.updates + 1)
        return state, totals, {game: t.priority for game, t in learnt.items()}

    def consolidate(
        self, state: LearnerState, totals: Metrics, replays: Replays
    ) -> tuple[LearnerState, Metrics]:
        """One update of every student while the teachers rest, towards what these have answered.

        Jit it, state and totals donated. Returns the new state and the new sums.
        """
        answered = {
            game: teacher.consolidate(state.teachers[game], replays[game])
            for game, teacher in self.teachers.items()
        }
        batches = {game: t.batches[0]["stored"] for game, t in answered.items()}
        students, metrics = self._family.update(state.students, batches, state.updates)
        for game, t in answered.items():
            metrics |= {f"{self.agent(game, 'teacher')}/{m}": x for m, x in t.metrics.items()}
        totals = {name: totals[name] + metrics[name] for name in totals}
        teachers = {game: t.state for game, t in answered.items()}
        return LearnerState(teachers, students, state.updates + 1), totals

    def diagnose(
        self, state: LearnerState, replays: Replays, key: PRNGKeyArray, batch_size: int = 256
    ) -> dict[str, Metrics]:
        """How well each student follows, on states of each replay: `advantage_kept`, `dead`, ...

        By agent; students of several games also have the means under their own name.
        """
        found = {}
        for game, teacher in self.teachers.items():
            x, targets = teacher.diagnostic_batch(
                state.teachers[game], replays[game], key, batch_size
            )
            for student in self.students:
                outputs, hidden = state.students[student.name].acting.trace(x)
                target = targets[student.settings.follow]
                row = student_metrics(outputs[:, self.action_slices[game]], target.logits)
                found[self.agent(game, student.name)] = row | {"dead": dead_share(hidden)}
        if len(self.specs) > 1:
            for name in state.students:
                rows = [found[self.agent(game, name)] for game in self.specs]
                found[name] = {
                    what: jnp.mean(jnp.stack([row[what] for row in rows]))
                    for what in ("advantage_kept", "agreement")
                }
        return found
