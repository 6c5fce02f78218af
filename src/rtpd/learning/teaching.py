"""The teacher's half of an update: what it learns from, its loss, and what it then says.

One `Teaching` for each game of a run. It ends in lessons: minibatches of states, each with the
teacher's Q-values there, which are all that students ever see of it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import optax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from rtpd.config.settings import Config, Follow, Targets
from rtpd.learning import replay as ring
from rtpd.learning.distillation import LOSSES
from rtpd.learning.schedule import Pace
from rtpd.learning.student_spec import parse_students
from rtpd.learning.teachers import DQN, Teacher, kind, lambda_returns, td_loss
from rtpd.learning.train_state import (
    Lesson,
    Lessons,
    Metrics,
    Minibatch,
    Model,
    acting_net,
    averaged,
    copied,
    descend,
    follow_slowly,
    named_key,
    optimizer,
)
from rtpd.networks import qnet
from rtpd.system import compute
from rtpd.types import EnvSpec, Policy, Preprocess, Transitions

TeacherLoss = Callable[[qnet.QNet], tuple[Array, tuple[Array, Array]]]
"""The mean loss of a minibatch; the net's outputs [B Q], and how they surprised [B]."""


class Rollout(NamedTuple):
    """T steps of E envs in the replay, and in which order they are learnt from."""

    rows: Int[Array, " T+1"]  # of the replay; the last one only bootstraps
    returns: Float[Array, " T*E"]  # env by env within a row
    order: Int[Array, "U B"]  # of U updates, indices into `returns`


class Drawn(NamedTuple):
    """Where a minibatch lies in the replay, and how much each of it counts."""

    row: Int[Array, " B"]
    env: Int[Array, " B"]
    weight: Float[Array, " B"] | float


class Best(NamedTuple):
    """The weights that scored best in an evaluation so far."""

    net: qnet.QNet  # without noise
    known: Bool[Array, ""]  # whether there has been an evaluation


class TeacherState(eqx.Module):
    """A teacher in training, and what its game looks like."""

    model: Model
    target: qnet.QNet | None  # bootstraps it, unless its own net does
    preprocess: Preprocess
    key: PRNGKeyArray
    best: Best | None = None  # what students follow, if they are to follow the best
    own: Preprocess | None = None  # of a teacher that has learnt before, and sees in its own way

    @property
    def sees(self) -> Preprocess:
        """What the teacher itself makes of frames; its students have `preprocess`."""
        return self.preprocess if self.own is None else self.own


class Taught(NamedTuple):
    """What an update of a teacher leaves behind."""

    state: TeacherState
    lessons: Lessons
    metrics: Metrics
    priority: Float[Array, "C E"] | None  # of the replay, where it has any


@dataclass(frozen=True)
class Teaching:
    """The static side of it: what `config` and the game's `spec` make of it."""

    config: Config
    spec: EnvSpec
    policy: Policy | None = None  # of a teacher that has learnt before

    @property
    def teacher(self) -> Teacher:
        """The kind of teacher."""
        return kind(self.config.teacher)

    @property
    def metrics(self) -> tuple[str, ...]:
        """What `teach` measures."""
        return ("q",) if self.policy else ("loss", "q")

    @property
    def pace(self) -> Pace:
        """When it learns."""
        return Pace(self.config)

    def see(self, preprocess: Preprocess, obs: Array) -> Float[Array, "B ..."]:
        """What nets see of raw frames [B K *F], in the dtype that they compute in."""
        return preprocess(obs, compute.dtype(self.config.compute, is_image=self.spec.is_image))

    @property
    def _followed(self) -> list[Follow]:
        """Whose Q-values some student follows."""
        return sorted({student.how.follow for student in parse_students(self.config)})

    @property
    def _rule(self) -> optax.GradientTransformation:
        return optimizer(self.config.td.optimizer, self.pace.updates)

    def init(self, key: PRNGKeyArray, preprocess: Preprocess) -> TeacherState:
        """A fresh teacher; what it draws from does not depend on which other games there are."""
        if self.policy is not None:
            net, own = copied((cast("qnet.QNet", self.policy.net), self.policy.preprocess))
            return TeacherState(
                Model(net, None), None, preprocess, named_key(key, "updates"), own=own
            )
        config, spec = self.config, self.spec
        net = qnet.build(
            config.td.net, spec, self.teacher.atoms * spec.num_actions,
            key=named_key(key, "teacher"), dueling=config.td.dueling, atoms=self.teacher.atoms,
            norm=self.teacher.norm, noisy=config.td.noisy,
        )  # fmt: skip
        average = copied(net) if config.td.average_decay else None
        best = Best(copied(qnet.without_noise(net)), jnp.zeros((), bool))
        return TeacherState(
            Model(net, self._rule.init(net), average),
            copied(net) if isinstance(self.teacher, DQN) else None,
            preprocess,
            named_key(key, "updates"),
            best if "best" in self._followed else None,
        )

    @property
    def q_values(self) -> Callable[[Float[Array, " Q"]], Float[Array, " A"]]:
        """From the outputs of the teacher's net to its Q-values.

        Equal for all equal teachings: jit compiles anew for a function that it does not know.
        """
        return self.policy.head if self.policy else self.teacher.q_values

    def rollout(self, state: TeacherState, replay: ring.Replay) -> Rollout | None:
        """What the next `updates_per_rollout` updates learn from; None: from the replay.

        It ends with the last row but one, whose successor is known. The updates are spread over
        the steps of the next rollout, so emulation goes on beside them.
        """
        if isinstance(self.teacher, DQN):
            return None
        settings = self.config.rollout
        rows = ring.newest(replay, settings.steps + 1)
        keys = jr.split(jr.fold_in(state.key, 1), settings.epochs)
        shuffled = jax.vmap(partial(jr.permutation, x=self.pace.rollout_steps))(keys)
        used = self.pace.updates_per_rollout // settings.epochs * settings.minibatch_size
        order = shuffled[:, :used].reshape(-1, settings.minibatch_size)
        return Rollout(rows, self._returns(state, replay, rows).reshape(-1), order)

    def teach(
        self,
        state: TeacherState,
        updates: Int[Array, ""],
        replay: ring.Replay,
        rollout: Rollout | None,
    ) -> Taught:
        """One update of the teacher, and what its students learn of it.

        `updates` counts those made before; `rollout` is what `self.rollout` planned.
        """
        if self.policy is not None:
            return self._recite(state, replay)
        draw_key, noise_key, extra_key, next_key = jr.split(state.key, 4)
        drawn = None
        if isinstance(self.teacher, DQN):
            drawn = self._draw(state, updates, replay, draw_key)
            batch, loss = self._of_replay(state, replay, drawn, noise_key)
        else:
            rollout = cast("Rollout", rollout)
            batch, loss = self._of_rollout(state, updates, replay, rollout, noise_key)
        model, q, surprise, metrics = self._improve(state.model, loss)
        target = state.target
        if target is not None:
            target = follow_slowly(target, model.net, updates, self.config.td)
        priority = replay.priority
        if priority is not None and drawn is not None:
            priority = ring.reprioritised(priority, drawn.row, drawn.env, surprise)
        state = TeacherState(model, target, state.preprocess, next_key, state.best)
        # The barrier keeps XLA from fusing the students' work into the teacher's, which would
        # change the teacher's rounding with the number of students. Frames are behind one already.
        q = jax.lax.optimization_barrier(jax.lax.stop_gradient(q))
        given: Lessons = []
        for i, wanted in enumerate(self._wanted):
            if i < max(1, len(q) // self.config.replay.batch_size):
                given.append(dict.fromkeys(wanted, self._part(i, batch, q, state)))
            else:
                given.append(self._of_memory(wanted, state, replay, jr.fold_in(extra_key, i)))
        return Taught(state, given, metrics, priority)

    @property
    def _wanted(self) -> list[list[Targets]]:
        """For each update of the students, which targets some of them learn from."""
        hows = [student.how for student in parse_students(self.config)]
        count = max((how.updates for how in hows), default=0)
        return [sorted({how.targets for how in hows if how.updates > i}) for i in range(count)]

    def _recite(self, state: TeacherState, replay: ring.Replay) -> Taught:
        """What a teacher says that learns no more."""
        next_key, *keys = jr.split(state.key, len(self._wanted) + 1)
        given = [
            self._of_memory(wanted, state, replay, key)
            for wanted, key in zip(self._wanted, keys, strict=True)
        ]
        values = [
            jnp.mean(jnp.max(q, axis=1))
            for lessons in given
            for lesson in lessons.values()
            for q in lesson.q.values()
        ]
        q = jnp.mean(jnp.stack(values)) if values else jnp.zeros(())
        state = eqx.tree_at(lambda s: s.key, state, next_key)
        return Taught(state, given, {"q": q}, None)

    def recall(self, state: TeacherState, replay: ring.Replay) -> Taught:
        """What a teacher that rests has answered of late, for one update of its students.

        Its states are the last of the replay, as many as the consolidation plays.
        """
        key, next_key = jr.split(state.key)
        share, steps = self.config.consolidation.share, self.config.steps
        lesson = self._stored(state, replay, key, round(share * steps))
        best = jnp.sum(jnp.max(next(iter(lesson.q.values())), axis=1) * lesson.known)
        metrics = {"q": best / jnp.maximum(jnp.sum(lesson.known), 1)}
        state = eqx.tree_at(lambda s: s.key, state, next_key)
        return Taught(state, [{"stored": lesson}], metrics, None)

    def _part(self, i: int, batch: Minibatch, q: Array, state: TeacherState) -> Lesson:
        """Part i of the teacher's own minibatch."""
        part = slice(i * self.config.replay.batch_size, (i + 1) * self.config.replay.batch_size)
        batch, latest = jax.tree.map(lambda a: a[part], (batch, q))
        said = {whose: self._said(state, batch.x, whose) for whose in self._followed}
        return Lesson(batch, said | {"latest": latest})

    def _of_memory(
        self, wanted: Sequence[Targets], state: TeacherState, replay: ring.Replay,
        key: PRNGKeyArray,
    ) -> dict[Targets, Lesson]:  # fmt: skip
        """A minibatch of the replay for each of the targets that are wanted."""
        lessons: dict[Targets, Lesson] = {}
        if "fresh" in wanted:
            batch = self.sample(replay, key)
            seen = self._minibatch(state, batch)
            x = seen.x if state.own is None else self.see(state.own, batch.obs)
            said = {whose: self._said(state, x, whose) for whose in self._followed}
            lessons["fresh"] = Lesson(seen, said)
        if "stored" in wanted:
            # A frozen teacher's answers do not age.
            steps = self._newest_steps if self.policy is None else self.config.replay.capacity
            lessons["stored"] = self._stored(state, replay, key, steps)
        return lessons

    def _stored(
        self, state: TeacherState, replay: ring.Replay, key: PRNGKeyArray, newest_steps: int
    ) -> Lesson:
        """States of the newest steps, and what the teacher answered when it acted there."""
        windows = self._windows()
        newest = max(-(-newest_steps // self.config.num_envs), windows["n_step"] + 8)
        row, env = ring.draw(
            replay, key, self.config.replay.batch_size, windows["stack"], windows["n_step"], newest
        )
        answered = cast("Array", replay.q)[row, env]
        known = jnp.isfinite(answered[:, 0])
        q = jnp.where(known[:, None], answered, 0.0)
        batch = self._minibatch(state, ring.transitions(replay, row, env, **windows))
        return Lesson(batch, dict.fromkeys(self._followed, q), known.astype(jnp.float32))

    @property
    def _newest_steps(self) -> int:
        """How far back stored answers are drawn from: as far as any of the students asks."""
        hows = [student.how for student in parse_students(self.config)]
        return max(how.newest_steps for how in hows if how.targets == "stored")

    def examine(
        self, state: TeacherState, replay: ring.Replay, key: PRNGKeyArray, batch_size: int
    ) -> tuple[Float[Array, "B ..."], dict[Follow, Float[Array, "B A"]]]:
        """States of the replay as nets see them, and the Q-values that students follow there."""
        batch = self.sample(replay, key, batch_size)
        x = self.see(state.preprocess, batch.obs)
        seen = x if state.own is None else self.see(state.own, batch.obs)
        return x, {whose: self._followed_q(state, seen, whose) for whose in self._followed}

    def _draw(
        self, state: TeacherState, updates: Array, replay: ring.Replay, key: PRNGKeyArray
    ) -> Drawn:
        """Where a minibatch lies in the replay.

        Importance weights: Schaul et al. 2016, section 3.4, the largest of a minibatch is 1.
        """
        settings = self.config.replay
        window = (settings.batch_size, self.spec.stack, self.config.td.n_step)
        if replay.priority is None:
            return Drawn(*ring.draw(replay, key, *window), 1.0)
        row, env, likelier = ring.draw_prioritised(replay, key, *window, settings.priority)
        done = jnp.minimum(updates / self.pace.updates, 1.0)
        weight = likelier ** -(settings.importance + done * (1 - settings.importance))
        return Drawn(row, env, weight / jnp.max(weight))

    def _of_replay(
        self, state: TeacherState, replay: ring.Replay, drawn: Drawn, noise_key: PRNGKeyArray
    ) -> tuple[Minibatch, TeacherLoss]:
        """A minibatch of the replay, and the loss towards the target net's values."""
        found = ring.transitions(replay, drawn.row, drawn.env, **self._windows())
        batch = self._minibatch(state, found)
        return batch, self._td_loss(state.target, batch, drawn.weight, noise_key)

    def _of_rollout(
        self, state: TeacherState, updates: Array, replay: ring.Replay, rollout: Rollout,
        noise_key: PRNGKeyArray,
    ) -> tuple[Minibatch, TeacherLoss]:  # fmt: skip
        """The next minibatch of a rollout, and the loss towards its returns."""
        chosen = rollout.order[updates % len(rollout.order)]
        row, env = rollout.rows[chosen // self.config.num_envs], chosen % self.config.num_envs
        batch = self._minibatch(state, ring.transitions(replay, row, env, **self._windows()))
        weight = 1.0 - replay.last[row, env]  # there the action was ignored
        return batch, self._return_loss(batch, rollout.returns[chosen], weight, noise_key)

    def _returns(
        self, state: TeacherState, replay: ring.Replay, rows: Int[Array, " T+1"]
    ) -> Float[Array, "T E"]:
        """Q(lambda) returns of a rollout, whose last row only bootstraps.

        Its values are those that it was played by. Where some are missing, as after the warm-up or
        where students drive, the latest net evaluates it all.
        """
        config, every = self.config, jnp.arange(self.config.num_envs)

        def evaluate(row: Array) -> Float[Array, " E"]:
            obs = ring.stacks(replay, jnp.full_like(every, row), every, self.spec.stack)
            x = self.see(state.preprocess, obs)
            return jnp.max(self._q(acting_net(state.model), x), axis=1)

        def evaluated() -> Float[Array, "T+1 E"]:
            return jax.lax.map(evaluate, rows)

        if replay.q is None:
            value = evaluated()
        else:
            played = jnp.max(replay.q[rows], axis=-1)
            value = jax.lax.cond(jnp.all(jnp.isfinite(played)), lambda: played, evaluated)
        reward = ring.clipped(replay.reward[rows[:-1]], config.td.clip_rewards)
        returns = partial(lambda_returns, gamma=config.td.gamma, lam=config.rollout.trace)
        return jax.vmap(returns, 1, 1)(reward, replay.terminal[rows[:-1]], replay.last[rows], value)

    def sample(
        self, replay: ring.Replay, key: PRNGKeyArray, batch_size: int | None = None
    ) -> Transitions:
        """A uniform minibatch of what this teacher learns from."""
        size = batch_size or self.config.replay.batch_size
        return ring.sample(replay, key, batch_size=size, **self._windows())

    def _windows(self) -> dict[str, Any]:
        """What a transition is."""
        td = self.config.td
        return {
            "stack": self.spec.stack,
            "n_step": td.n_step if isinstance(self.teacher, DQN) else 1,
            "gamma": td.gamma,
            "clip_reward": td.clip_rewards,
        }

    def _minibatch(self, state: TeacherState, batch: Transitions) -> Minibatch:
        """What the nets see of a batch, in memory once for all of them."""
        needed = isinstance(self.teacher, DQN) or any(
            LOSSES[s.loss].td for s in parse_students(self.config)
        )
        ends = (batch.obs, batch.next_obs if needed else None)
        see = partial(self.see, state.preprocess)
        x, next_x = jax.lax.optimization_barrier(jax.tree.map(see, ends))
        return Minibatch(x, next_x, batch.action, batch.reward, batch.discount)

    def _td_loss(
        self,
        target: qnet.QNet | None,
        batch: Minibatch,
        weight: Array | float,
        key: PRNGKeyArray,
    ) -> TeacherLoss:
        """Of a teacher that bootstraps from its target net; `key` draws the noise of noisy nets."""
        rule = cast("DQN", self.teacher)
        online_key, target_key = jr.split(key)
        target = qnet.with_noise(cast("qnet.QNet", target), target_key)

        def loss(net: qnet.QNet) -> tuple[Array, tuple[Array, Array]]:
            net = qnet.with_noise(net, online_key)
            outputs = net(batch.x)
            losses, surprise = batch.losses(rule, outputs, net, target, self.config.td.loss)
            return jnp.mean(weight * losses), (outputs, surprise)

        return loss

    def _return_loss(
        self, batch: Minibatch, returns: Array, weight: Array, key: PRNGKeyArray
    ) -> TeacherLoss:
        """Of a teacher whose returns are known before its update."""

        def loss(net: qnet.QNet) -> tuple[Array, tuple[Array, Array]]:
            outputs = qnet.with_noise(net, key)(batch.x)
            error = returns - jax.vmap(jnp.take)(self._q_of(outputs), batch.action)
            losses = td_loss(error, self.config.td.loss)
            mean = jnp.sum(weight * losses) / jnp.maximum(jnp.sum(weight), 1.0)
            return mean, (outputs, jnp.abs(error))

        return loss

    def _improve(
        self, model: Model, loss: TeacherLoss
    ) -> tuple[Model, Float[Array, "B A"], Float[Array, " B"], Metrics]:
        (value, (outputs, surprise)), gradient = jax.value_and_grad(loss, has_aux=True)(model.net)
        net, opt_state = descend(self._rule, model, gradient)
        average = model.average
        if average is not None:
            average = averaged(average, net, self.config.td.average_decay)
        q = self._q_of(outputs)
        metrics = {"loss": value, "q": jnp.mean(jnp.max(q, axis=1))}
        return Model(net, opt_state, average), q, surprise, metrics

    def _said(self, state: TeacherState, x: Array, whose: Follow) -> Float[Array, "B A"]:
        """The Q-values that some students follow, without a gradient."""
        return jax.lax.stop_gradient(self._followed_q(state, x, whose))

    def _followed_q(self, state: TeacherState, x: Array, whose: Follow) -> Float[Array, "B A"]:
        """The Q-values that some students follow."""
        model, best = state.model, state.best
        net = acting_net(model) if whose == "ema" else model.net
        if whose == "best" and best is not None:
            latest = qnet.without_noise(net)
            net = jax.tree.map(partial(jnp.where, best.known), best.net, latest)
        return self._q(net, x)

    def _q(self, net: qnet.QNet, x: Array) -> Float[Array, "B A"]:
        return self._q_of(net(x))

    def _q_of(self, outputs: Float[Array, "B Q"]) -> Float[Array, "B A"]:
        return jax.vmap(self.q_values)(outputs)
