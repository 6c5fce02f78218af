"""Atari games through ale-py's own vector environment, which carries the ROMs.

Emulation, frame skip, max-pooling over the last two frames, grayscale and the resize to 84x84
happen in C++ threads, which run on between `send` and `recv`.
"""

from typing import Any

import numpy as np
from ale_py.vector_env import AtariVectorEnv
from numpy.typing import ArrayLike

from rtpd.envs.common import env_seeds, valid_actions
from rtpd.envs.options import EnvOptions
from rtpd.errors import EnvError, RtpdError
from rtpd.types import EnvSpec, Timestep


class AleEnv:
    """E copies of one Atari game. Frames u8[E 84 84], rewards unclipped.

    A lost life is marked `terminal` here rather than in ale-py: its `episodic_life` would start
    the whole game anew, and its `life_loss_info` mixes lost lives with the end of the game.
    """

    def __init__(self, game: str, num_envs: int, options: EnvOptions) -> None:
        """Load the ROM `num_envs` times; `game` is an ALE name."""
        self.num_envs = num_envs
        self._episodic_life = options.episodic_life
        self._native = _start(game, num_envs, options)
        meanings = tuple(action.name for action in self._native.ale.get_action_set())
        self.spec = EnvSpec(
            name=f"ale/{game}",
            num_actions=len(meanings),
            frame_shape=(84, 84),
            frames_per_step=options.frame_skip,
            action_meanings=meanings,
        )
        self._lives = np.zeros(num_envs, np.int32)
        self._last = np.zeros(num_envs, bool)
        self._sent = False

    def reset(self, seed: int) -> Timestep:
        """Start a new game in every env; equal seeds give equal games, whatever went before."""
        if self._sent:
            self._native.recv()  # else the native queue would answer with the step under way
            self._sent = False
        frame, info = self._native.reset(seed=env_seeds(seed, self.num_envs))
        no = np.zeros(self.num_envs, bool)
        self._lives, self._last = info["lives"], no
        reward = np.zeros(self.num_envs, np.float32)
        return Timestep(frame[:, 0], reward, no.copy(), no.copy(), ~no, no.copy())

    def send(self, action: ArrayLike) -> None:
        """Begin a step and return at once; the emulators run in their own threads."""
        self._native.send(valid_actions(action, self.num_envs, self.spec.num_actions))
        self._sent = True

    def recv(self) -> Timestep:
        """Wait for the step begun by `send`. ale-py allots new arrays at every call: no copies."""
        if not self._sent:
            raise RtpdError("recv without send: the emulators would keep it waiting for ever")
        frame, reward, over, cut, info = self._native.recv()
        self._sent = False
        first, last = self._last, over | cut
        terminal = over
        if self._episodic_life:
            # The row of a reset holds a new game's lives, which no action has cost.
            terminal = over | ((info["lives"] < self._lives) & (info["lives"] > 0) & ~first)
        self._lives, self._last = info["lives"], last
        truncated = cut & ~terminal
        return Timestep(
            frame[:, 0], reward.astype(np.float32), terminal, truncated, first, last.copy()
        )

    def close(self) -> None:
        """Stop the threads and free the emulators; calling it twice is harmless."""
        self.__dict__.pop("_native", None)  # its destructor joins the threads


class AleScreen:
    """What one env's screen shows, in colour u8[210 160 3]: a second emulator in step with it.

    Agents see small grey frames, and ale-py gives one kind of frame an emulator.
    """

    def __init__(self, game: str, options: EnvOptions) -> None:
        """Load the ROM once more."""
        colour = {"grayscale": False, "img_height": 210, "img_width": 160}
        self._native = _start(game, 1, options, **colour)

    def reset(self, seed: int) -> np.ndarray:
        """The first picture of what `AleEnv.reset(seed)` starts in its first env."""
        return self._native.reset(seed=env_seeds(seed, 1))[0][0, 0]

    def step(self, action: int) -> np.ndarray:
        """The picture that follows on the action that was sent to the env."""
        return self._native.step(np.array([action], np.int32))[0][0, 0]

    def close(self) -> None:
        """Free the emulator; calling it twice is harmless."""
        self.__dict__.pop("_native", None)


def _start(game: str, num_envs: int, options: EnvOptions, **frames: Any) -> AtariVectorEnv:  # noqa: ANN401
    """Ask ale-py for single frames and whole games; what we derive ourselves is off."""
    try:
        return AtariVectorEnv(
            game,
            num_envs,
            num_threads=options.threads,
            stack_num=1,
            frameskip=options.frame_skip,
            repeat_action_probability=options.sticky_actions,
            full_action_space=options.full_action_set,
            max_num_frames_per_episode=options.max_episode_frames,
            # ale-py draws 0..noop_max - 1.
            noop_max=options.noop_max + 1 if options.noop_max > 0 else 0,
            # As in Baselines, CleanRL and EnvPool: games that wait for FIRE are started with it
            # (it takes the place of one no-op). Nature DQN has no such rule, but there a greedy
            # policy can wait for the whole 30 minutes, which measures nothing.
            use_fire_reset=True,
            episodic_life=False,
            life_loss_info=False,
            reward_clipping=False,
            **frames,
        )
    except (OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise EnvError(f"game '{game}' cannot be started: {reason}") from error
