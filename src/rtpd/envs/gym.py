"""Any Gymnasium environment with discrete actions; of `EnvOptions` the longest episode applies.

`observations.py` tells what a net sees of it.
"""

import os
import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Discrete, Space
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.wrappers import TimeLimit
from numpy.typing import ArrayLike

from rtpd.envs import ale, observations
from rtpd.envs.common import env_seeds, valid_actions
from rtpd.envs.family import EnvFamily
from rtpd.envs.options import IMPORT, EnvOptions
from rtpd.errors import EnvError, RtpdError, unknown
from rtpd.types import EnvSpec, Timestep

MOST_ACTIONS = 65_536


class GymFamily(EnvFamily):
    """Environments that are registered with Gymnasium; a name is an id, or `module:id`."""

    def canonical(self, name: str) -> str:
        """Gymnasium ids are case-sensitive and have one spelling."""
        return name

    def check(self, name: str) -> None:
        """Raise EnvError unless `name` is registered, can be made, and has spaces we can play.

        `module:id` needs the module, which registers the id: see `_import_trusted`. One copy of the
        environment is made and closed, for only it knows its spaces and missing packages.
        """
        module, _, env_id = name.rpartition(":")
        _import_trusted(module, name)
        known = gymnasium.registry.get(env_id)
        if known is None or str(known.entry_point).startswith("ale_py."):
            if game := ale.game_of_id(env_id):
                raise EnvError(ale.played_as(f"gym/{env_id}", game))
        if known is None:
            said = unknown("Gymnasium id", env_id, ale.registered())
            raise EnvError(
                f"{said}; a module of yours that registers it is named by {IMPORT}=MODULE"
            )
        try:
            env = gymnasium.make(env_id)
        except Exception as error:
            raise EnvError(f"Gymnasium cannot make '{env_id}': {_one_line(error)}") from error
        try:
            _discrete(env_id, env.action_space)
            observations.check(env_id, env.observation_space)
        finally:
            env.close()

    def make(self, name: str, num_envs: int, options: EnvOptions) -> "GymEnv":
        """Make `num_envs` copies of a registered environment."""
        return GymEnv(name.rpartition(":")[2], num_envs, options)

    def screen(self, name: str, options: EnvOptions) -> "GymScreen | None":
        """A screen for the first env of `make(name, ...)`; None if it cannot draw itself."""
        try:
            return GymScreen(name.rpartition(":")[2], options)
        except Exception:  # anyone's code; often a package for drawing that is not installed
            return None


class GymScreen:
    """What one env looks like, u8[H W 3]: a second copy in step with it."""

    def __init__(self, env_id: str, options: EnvOptions) -> None:
        """Make the copy and let it draw once."""
        self._native = _start(env_id, 1, options, render_mode="rgb_array")
        self._first_action = int(_discrete(env_id, self._native.single_action_space).start)
        self.reset(0)

    def reset(self, seed: int) -> np.ndarray:
        """The first picture of what `GymEnv.reset(seed)` starts in its first env."""
        self._native.reset(seed=env_seeds(seed, 1).tolist())
        return self._picture()

    def step(self, action: int) -> np.ndarray:
        """The picture that follows on the action that was sent to the env."""
        self._native.step(np.array([action + self._first_action]))
        return self._picture()

    def _picture(self) -> np.ndarray:
        pictures = self._native.render()
        if not pictures or np.ndim(pictures[0]) != 3:
            raise RtpdError("no picture")
        return np.asarray(pictures[0], np.uint8)

    def close(self) -> None:
        """Free the copy."""
        self._native.close()


class GymEnv:
    """E copies of one Gymnasium environment, stepped in turn by `recv`.

    Frames u8[E 84 84] or f32[E D]. `warnings`: what the conversion of the first observation
    loses, each in a few words.
    """

    def __init__(self, env_id: str, num_envs: int, options: EnvOptions) -> None:
        """Make the copies; `env_id` has passed `check`."""
        self.num_envs = num_envs
        self._native = _start(env_id, num_envs, options, observations.flattened)
        actions = _discrete(env_id, self._native.single_action_space)
        self._first_action = int(actions.start)
        self._space = self._native.single_observation_space
        shape, stack, self._convert = observations.frames(env_id, self._space)
        self.spec = EnvSpec(
            name=f"gym/{env_id}",
            num_actions=int(actions.n),
            frame_shape=shape,
            frame_dtype="uint8" if len(shape) == 2 else "float32",
            stack=stack,
            frames_per_step=1,
            action_meanings=tuple(str(self._first_action + i) for i in range(int(actions.n))),
            first_action=self._first_action,
        )
        self._last = np.zeros(num_envs, bool)
        self._action: np.ndarray | None = None

    def reset(self, seed: int) -> Timestep:
        """Start an episode in every env."""
        self._action = None
        obs, _ = self._native.reset(seed=env_seeds(seed, self.num_envs).tolist())
        no = np.zeros(self.num_envs, bool)
        self._last, self._steps = no, np.zeros(self.num_envs, int)
        self.warnings = observations.losses(self._space, np.asarray(obs)[0])
        reward = np.zeros(self.num_envs, np.float32)
        return self._checked(
            Timestep(self._convert(obs, ~no), reward, no.copy(), no.copy(), ~no, no.copy())
        )

    def send(self, action: ArrayLike) -> None:
        """Note the actions, 0 <= action < num_actions whatever number the space starts at."""
        self._action = valid_actions(action, self.num_envs, self.spec.num_actions)

    def recv(self) -> Timestep:
        """Step every env with the actions of the last `send`."""
        if self._action is None:
            raise RtpdError("recv without send: there is no action to step with")
        actions = self._action.astype(np.int64) + self._first_action
        self._action = None
        obs, reward, over, cut, _ = self._native.step(actions)
        terminal, truncated = over.copy(), cut & ~over
        first, self._last = self._last, over | cut
        frame, reward = self._convert(obs, first), observations.float32(reward)
        self._steps = np.where(first, 0, self._steps + 1)
        return self._checked(Timestep(frame, reward, terminal, truncated, first, self._last.copy()))

    def _checked(self, timestep: Timestep) -> Timestep:
        """RtpdError for the first number that is not finite: nothing could be learnt from it."""
        for field, values in (("reward", timestep.reward), ("observation", timestep.frame)):
            if np.isfinite(values).all():
                continue
            env, *feature = np.argwhere(~np.isfinite(values))[0].tolist()
            where = f" (number {feature[0]} of it)" if feature else ""
            raise RtpdError(
                f"{self.spec.name} gave {field} {values[env, *feature]:g}{where} at step "
                f"{self._steps[env]} of an episode: it must be a finite float32"
            )
        return timestep

    def close(self) -> None:
        """Close every copy; calling it twice is harmless."""
        self._native.close()


def _start(
    env_id: str,
    num_envs: int,
    options: EnvOptions,
    *wrappers: Callable[[gymnasium.Env], gymnasium.Env],
    **more: Any,  # noqa: ANN401
) -> VectorEnv:
    """Copies of an env as it is registered, in `wrappers`, but no episode is without end."""
    limit = partial(TimeLimit, max_episode_steps=options.max_episode_frames)
    around: list[Any] = [*wrappers, limit]
    return gymnasium.make_vec(
        env_id,
        num_envs,
        vectorization_mode="sync",
        vector_kwargs={"autoreset_mode": AutoresetMode.NEXT_STEP},
        wrappers=around,
        **more,
    )


def _import_trusted(module: str, name: str) -> None:
    """Import the modules that the user has named, to register their ids; `name` may need one.

    Names come from strangers' manifests and suites too, and importing runs code: a module that the
    user has not named will do only if it has been imported already.
    """
    trusted = [word for word in os.environ.get(IMPORT, "").split(",") if word]
    if module and module not in sys.modules and module not in trusted:
        raise EnvError(
            f"'{name}' would import the Python module '{module}': if you trust it, "
            f"set {IMPORT}={module}, or import it first"
        )
    for word in trusted:
        try:
            import_module(word)
        except Exception as error:  # anyone's code
            raise EnvError(f"'{name}': cannot import '{word}': {_one_line(error)}") from error


def _discrete(env_id: str, space: Space) -> Discrete:
    if not isinstance(space, Discrete):
        raise EnvError(f"'{env_id}' has actions {space}: allowed: Discrete")
    if space.n > MOST_ACTIONS or abs(int(space.start)) >= 2**31 - MOST_ACTIONS:
        raise EnvError(
            f"'{env_id}' has actions {space}: allowed: up to {MOST_ACTIONS:,}, numbered in 32 bits"
        )
    return space


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
