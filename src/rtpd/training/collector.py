"""One game of a run: its emulators, its replay, and what its teacher does there."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from functools import partial

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PRNGKeyArray

from rtpd import envs
from rtpd.agents import acting
from rtpd.agents.episodes import Episodes
from rtpd.config.settings import Config
from rtpd.learning import replay as ring
from rtpd.learning.replay_shape import ReplayShape, replay_shape
from rtpd.learning.student_spec import parse_actors, parse_students
from rtpd.learning.teachers.base import Teacher
from rtpd.learning.teachers.host import HostTeacher
from rtpd.learning.teachers.state import TeacherState
from rtpd.learning.train_state import TrainState
from rtpd.networks.qnet import QNet, with_noise
from rtpd.system import compute
from rtpd.training import validation
from rtpd.types import EnvSpec, Preprocess, VectorEnv


class Collector:
    """A step of it is `send`, `receive`, `store`, `choose`; emulators run after `send`."""

    def __init__(self, settings: Config, env: VectorEnv, teacher: Teacher, actions: slice) -> None:
        """An empty replay; `restart` begins to play. `actions`: its game's outputs of a student."""
        self.config, self.env, self.spec = settings, env, env.spec
        self.actors = parse_actors(settings)
        self.replay = ring.init(replay_of(settings, env.spec))
        self._add = jax.jit(ring.add, donate_argnums=0)
        self._seal = jax.jit(ring.seal, donate_argnums=0)
        self._host = teacher.policy if isinstance(teacher, HostTeacher) else None
        self._push = jax.jit(acting.push)
        self._act = compute.jit(partial(_act, teacher, self.actors, actions), settings.compute)

    def restart(self, step: int) -> None:
        """Start every env anew from a seed of (run's seed, step)."""
        settings, spec = self.config, self.spec
        seed = np.random.SeedSequence((settings.seed, step)).generate_state(1)[0]
        self.timestep = self.env.reset(int(seed >> 1))
        self.episodes = Episodes(settings.num_envs)
        self.stack = jnp.zeros((settings.num_envs, spec.stack, *spec.frame_shape), spec.frame_dtype)
        self._key = jr.fold_in(jr.key(settings.seed), 1)

    def seal(self) -> None:
        """Let no window of the replay cross what comes next: the envs will be restarted."""
        self.replay = self._seal(self.replay)

    def preprocess(self) -> Preprocess:
        """What makes inputs of frames: as the settings say, or as the replay shows."""
        mean, std = jax.jit(ring.frame_statistics)(self.replay)
        centre = validation.parse_centre(self.config.centre)
        scale = validation.parse_scale(self.config.scale)
        return Preprocess(
            mean if centre is None else jnp.full(self.spec.frame_shape, centre, jnp.float32),
            std if scale is None else jnp.full(self.spec.scale_shape, scale, jnp.float32),
        )

    def choose(
        self, teacher: TeacherState, students: Mapping[str, TrainState], step: int, epsilon: float
    ) -> None:
        """Begin to choose the actions that come after `step`."""
        nets = {name: s.acting for name, s in students.items() if name in self.actors}
        nets["teacher"] = teacher.train.acting
        preprocess = {name: teacher.preprocess for name in nets} | {"teacher": teacher.sees}
        self.stack, self.action, self.q = self._act(
            nets, preprocess, self.stack, self.timestep.frame, self.timestep.first, self._key,
            np.int32(step), np.float32(epsilon), self._asked(),
        )  # fmt: skip

    def _asked(self) -> np.ndarray | None:
        """What a teacher outside of JAX answers in all envs [E A]; None of one inside."""
        if self._host is None:
            return None
        stack = self._push(self.stack, self.timestep.frame, self.timestep.first)
        return self._host.q_values(np.asarray(stack))

    def send(self) -> None:
        """Begin a step of the emulators."""
        self._sent, self._sent_q = np.asarray(self.action), self.q
        self.env.send(self._sent)

    def receive(self) -> list[tuple[str, float]]:
        """Wait for that step; who played the episodes that it ended, and their returns."""
        self._seen, self.timestep = self.timestep, self.env.recv()
        return [(self._driver(e.env), e.total) for e in self.episodes.add(self.timestep)]

    def _driver(self, env: int) -> str:
        return next(name for name, part in self.actors.items() if part.start <= env < part.stop)

    def store(self) -> None:
        """Write the row that the step began with, now that what came of it is known."""
        seen = self._seen
        self.replay = self._add(
            self.replay, seen.frame, self._sent, self.timestep.reward,
            seen.first, self.timestep.terminal, seen.last, self._sent_q,
        )  # fmt: skip


@contextmanager
def emulators(settings: Config) -> Generator[dict[str, VectorEnv]]:
    """The games' vector envs by their short and canonical names, closed at the end."""
    opened: dict[str, VectorEnv] = {}
    try:
        for name in settings.games.values():
            game = envs.short(envs.canonical(name))
            opened[game] = envs.make(name, settings.num_envs, settings.environment)
        yield opened
    finally:
        for env in opened.values():
            env.close()


def replay_of(settings: Config, spec: EnvSpec) -> ReplayShape:
    """What is kept of a game that is played with these settings."""
    students = [student.settings for student in parse_students(settings)]
    frames = (spec.frame_shape, spec.frame_dtype)
    return replay_shape(settings, students, *frames, spec.num_actions)


def _act(
    teacher: Teacher, actors: Mapping[str, slice], actions: slice, nets: Mapping[str, QNet],
    preprocess: Mapping[str, Preprocess], stack: Array, frame: ArrayLike, first: ArrayLike,
    key: PRNGKeyArray, step: ArrayLike, epsilon: ArrayLike, asked: ArrayLike | None = None,
) -> tuple[Array, Array, Array]:  # fmt: skip
    """Actions of whoever drives each env, the random key derived from the step.

    Also the stacks, and the teacher's Q-values or logits of all of them [E A], NaN while chance
    alone plays. `asked`: those of a teacher outside of JAX, which are kept then too.
    A noisy teacher draws its weights once per step, for all its envs.
    """
    noise_key, key = jr.split(jr.fold_in(key, step))

    def outputs(name: str, stack: Array) -> Float[Array, "N Q"]:
        x = teacher.preprocessed(preprocess[name], stack)
        return with_noise(nets[name], noise_key)(x)

    stack = acting.push(stack, frame, first)
    answers = (
        jax.vmap(teacher.head)(outputs("teacher", stack)) if asked is None else jnp.asarray(asked)
    )
    preferences = [
        answers[part] if name == "teacher" else outputs(name, stack[part])[:, actions]
        for name, part in actors.items()
    ]
    choose = acting.sample if teacher.samples else acting.epsilon_greedy
    action = choose(jnp.concatenate(preferences), key, epsilon)
    if asked is None:
        answers = jnp.where(jnp.less(epsilon, 1), answers, jnp.nan)
    return stack, action, answers
