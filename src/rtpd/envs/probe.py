"""Tiny environments whose Q-values are known: each fails one thing that can be wrong in a learner.

| probe   | what it asks                                                               | stack |
|---------|----------------------------------------------------------------------------|-------|
| one     | does a value follow a constant reward                                      | 1     |
| arms    | does it depend on the action                                               | 1     |
| match   | does it depend on the observation (the start state is random)              | 1     |
| swap    | what `match` shows, with other answers: for students of both               | 1     |
| delay   | is a later reward discounted: 0.5 at once, or 1 after three steps          | 1     |
| chain   | does value travel back along five states                                   | 1     |
| endless | is an episode cut off by time bootstrapped: Q = 1 / (1 - gamma), not less  | 1     |
| pixels  | all of it from images, for convolutional nets                              | 4     |
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike

from rtpd.envs.common import env_seeds, valid_actions
from rtpd.envs.family import EnvFamily
from rtpd.envs.options import EnvOptions
from rtpd.errors import EnvError, RtpdError, unknown
from rtpd.types import EnvSpec, Timestep

Table = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Mdp:
    """A Markov decision process as three tables of S states by A actions."""

    next_state: Table
    reward: Table
    terminal: Table
    """1 where taking the action ends the episode; the next state is then only looked at."""
    starts: tuple[int, ...] = (0,)
    """States to start in, equally likely."""
    time_limit: int | None = None
    """Steps after which an episode is truncated."""
    image: bool = False
    """Whether a state is seen as a bright square in an 84x84 image instead of one-hot."""

    @cached_property
    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """`next_state` int[S A], `reward` f32[S A], `terminal` bool[S A]."""
        return (
            np.array(self.next_state, int),
            np.array(self.reward, np.float32),
            np.array(self.terminal, bool),
        )

    @cached_property
    def frames(self) -> np.ndarray:
        """What is seen of each state: f32[S S] one-hot, or u8[S 84 84]."""
        num_states = len(self.next_state)
        if not self.image:
            return np.eye(num_states, dtype=np.float32)
        frames = np.zeros((num_states, 84, 84), np.uint8)
        width = 84 // num_states
        for state in range(num_states):
            # A diagonal: rows and columns both tell the states apart.
            here = slice(state * width, (state + 1) * width)
            frames[state, here, here] = 255
        return frames


def _chain(length: int, starts: tuple[int, ...] = (0,), image: bool = False) -> Mdp:
    """Action 0 goes left (and stays at the left end), 1 right; only leaving at the right pays."""
    states = range(length)
    return Mdp(
        next_state=tuple((max(s - 1, 0), min(s + 1, length - 1)) for s in states),
        reward=tuple((0, int(s == length - 1)) for s in states),
        terminal=tuple((0, int(s == length - 1)) for s in states),
        starts=starts,
        time_limit=10 * length,
        image=image,
    )


PROBES: dict[str, Mdp] = {
    "one": Mdp(next_state=((0, 0),), reward=((1, 1),), terminal=((1, 1),)),
    "arms": Mdp(next_state=((0, 0, 0),), reward=((0, 1, -1),), terminal=((1, 1, 1),)),
    "match": Mdp(
        next_state=((0, 0), (1, 1)),
        reward=((1, -1), (-1, 1)),
        terminal=((1, 1), (1, 1)),
        starts=(0, 1),
    ),
    "swap": Mdp(
        next_state=((0, 0, 0), (1, 1, 1)),
        reward=((-1, 1, 0), (0, -1, 1)),
        terminal=((1, 1, 1), (1, 1, 1)),
        starts=(0, 1),
    ),
    "delay": Mdp(
        next_state=((0, 1), (2, 2), (2, 2)),
        reward=((0.5, 0), (0, 0), (1, 1)),
        terminal=((1, 0), (0, 0), (1, 1)),
    ),
    "chain": _chain(5),
    "endless": Mdp(next_state=((0, 0),), reward=((1, 1),), terminal=((0, 0),), time_limit=10),
    "pixels": _chain(4, starts=(0, 1, 2, 3), image=True),
}


def known_q(name: str, gamma: float) -> Float[np.ndarray, "S A"]:
    """The optimal Q-values of a probe, f32[S A], by value iteration.

    A time limit does not change them: a truncated episode is bootstrapped, not ended.
    """
    if not 0 <= gamma < 1:
        raise EnvError(f"gamma is {gamma}: allowed: 0 <= gamma < 1")
    next_state, reward, terminal = PROBES[name].arrays
    q, change = np.zeros(reward.shape), np.inf
    # An error of `change` now is at most change * gamma / (1 - gamma) for ever after.
    while change > 1e-8 * (1 - gamma):
        following = np.where(terminal, 0.0, q.max(axis=1)[next_state])
        better = reward + gamma * following
        q, change = better, np.abs(better - q).max()
    return q.astype(np.float32)


class ProbeFamily(EnvFamily):
    """The environments of `PROBES`."""

    def canonical(self, name: str) -> str:
        """Probes have one spelling, in lower case."""
        return name.lower()

    def check(self, name: str) -> None:
        """Raise EnvError unless there is such a probe."""
        if name not in PROBES:
            raise EnvError(unknown("probe", name, PROBES))

    def make(self, name: str, num_envs: int, options: EnvOptions) -> "ProbeEnv":
        """Lay out `num_envs` copies of a probe."""
        del options  # the table says everything
        return ProbeEnv(name, num_envs)


class ProbeEnv:
    """E copies of one `Mdp`. Frames f32[E S], or u8[E 84 84] for images; a frame a step."""

    def __init__(self, name: str, num_envs: int) -> None:
        """`name` is a key of `PROBES`."""
        self.num_envs = num_envs
        self._mdp = PROBES[name]
        frames = self._mdp.frames
        num_actions = len(self._mdp.reward[0])
        self.spec = EnvSpec(
            name=f"probe/{name}",
            num_actions=num_actions,
            frame_shape=frames.shape[1:],
            frame_dtype="uint8" if frames.dtype == np.uint8 else "float32",
            stack=4 if self._mdp.image else 1,
            frames_per_step=1,
            action_meanings=tuple(str(action) for action in range(num_actions)),
        )
        self._action: np.ndarray | None = None

    def reset(self, seed: int) -> Timestep:
        """Start an episode in every env; `seed` decides all start states to come."""
        # Not default_rng(seed): a caller who draws actions from that would draw our start states.
        self._random = np.random.default_rng(env_seeds(seed, self.num_envs))
        self._action = None
        self._state = self._starts()
        self._elapsed = np.zeros(self.num_envs, int)  # steps of the episode
        self._last = np.zeros(self.num_envs, bool)
        no, reward = self._last, np.zeros(self.num_envs, np.float32)
        frame = self._mdp.frames[self._state]
        return Timestep(frame, reward, no.copy(), no.copy(), ~no, no.copy())

    def send(self, action: ArrayLike) -> None:
        """Note the actions."""
        self._action = valid_actions(action, self.num_envs, self.spec.num_actions)

    def recv(self) -> Timestep:
        """Look the actions up in the tables; an env whose episode has ended starts another."""
        if self._action is None:
            raise RtpdError("recv without send: there is no action to step with")
        next_state, reward, terminal = (
            table[self._state, self._action] for table in self._mdp.arrays
        )
        self._action = None
        first = self._last
        self._state = np.where(first, self._starts(), next_state)
        self._elapsed = np.where(first, 0, self._elapsed + 1)
        terminal = terminal & ~first
        limit = self._mdp.time_limit
        truncated = ~terminal & (self._elapsed >= limit if limit else False)
        self._last = terminal | truncated
        return Timestep(
            frame=self._mdp.frames[self._state],
            reward=np.where(first, 0, reward).astype(np.float32),
            terminal=terminal,
            truncated=truncated,
            first=first,
            last=self._last.copy(),
        )

    def close(self) -> None:
        """Nothing to free."""

    def _starts(self) -> Int[np.ndarray, " E"]:
        return self._random.choice(self._mdp.starts, self.num_envs)
