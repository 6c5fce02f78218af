"""Any Gymnasium environment with discrete actions; of `EnvOptions` the longest episode applies.

| observation space                       | frame                | stack |
|-----------------------------------------|----------------------|-------|
| Box uint8 (H, W), (H, W, 1), (H, W, 3)  | uint8 luminance 84x84| 4     |
| any other Box                           | float32, flattened   | 1     |
| Discrete                                | float32, one-hot     | 1     |
"""

import os
import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete, Space
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.wrappers import TimeLimit
from jaxtyping import Int
from PIL import Image

from rtpd.envs.common import IMPORT, EnvOptions, env_seeds, valid_actions
from rtpd.errors import EnvError, RtpdError, unknown
from rtpd.types import EnvSpec, Timestep

_SIDE = 84  # pixels


def canonical(name: str) -> str:
    """Gymnasium ids are case-sensitive and have one spelling."""
    return name


def check(name: str) -> None:
    """Raise EnvError unless `name` is registered, can be made, and has spaces we can play.

    `module:id` needs the module, which registers the id: see `_import_trusted`. One copy of the
    environment is made and closed, for only it knows its spaces and missing packages.
    """
    module, _, env_id = name.rpartition(":")
    _import_trusted(module, name)
    known = gymnasium.registry.get(env_id)
    if known is None or str(known.entry_point).startswith("ale_py."):
        from rtpd.envs import ale  # only here: others need no emulator

        if game := ale.game_of_id(env_id):
            raise EnvError(ale.played_as(f"gym/{env_id}", game))
    if known is None:
        said = unknown("Gymnasium id", env_id, gymnasium.registry)
        raise EnvError(f"{said}; a module of yours that registers it is named by {IMPORT}=MODULE")
    try:
        env = gymnasium.make(env_id)
    except Exception as error:
        raise EnvError(f"Gymnasium cannot make '{env_id}': {_one_line(error)}") from error
    try:
        _discrete(env_id, env.action_space)
        _frames(env_id, env.observation_space)
    finally:
        env.close()


def make(name: str, num_envs: int, options: EnvOptions) -> "GymEnv":
    """Make `num_envs` copies of a registered environment."""
    return GymEnv(name.rpartition(":")[2], num_envs, options)


def screen(name: str, options: EnvOptions) -> "GymScreen | None":
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

    Frames u8[E 84 84] or f32[E D]; see the table above.
    """

    def __init__(self, env_id: str, num_envs: int, options: EnvOptions) -> None:
        """Make the copies; `env_id` has passed `check`."""
        self.num_envs = num_envs
        self._native = _start(env_id, num_envs, options)
        actions = _discrete(env_id, self._native.single_action_space)
        self._first_action = int(actions.start)
        shape, self._convert = _frames(env_id, self._native.single_observation_space)
        is_image = len(shape) == 2
        self.spec = EnvSpec(
            name=f"gym/{env_id}",
            num_actions=int(actions.n),
            frame_shape=shape,
            frame_dtype="uint8" if is_image else "float32",
            stack=4 if is_image else 1,
            frames_per_step=1,
            action_meanings=tuple(str(self._first_action + i) for i in range(int(actions.n))),
        )
        self._last = np.zeros(num_envs, bool)
        self._action: np.ndarray | None = None

    def reset(self, seed: int) -> Timestep:
        """Start an episode in every env."""
        self._action = None
        obs, _ = self._native.reset(seed=env_seeds(seed, self.num_envs).tolist())
        no = np.zeros(self.num_envs, bool)
        self._last = no
        reward = np.zeros(self.num_envs, np.float32)
        return Timestep(self._convert(obs), reward, no.copy(), no.copy(), ~no, no.copy())

    def send(self, action: Int[np.ndarray, " E"]) -> None:
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
        frame = self._convert(obs)
        return Timestep(
            frame, reward.astype(np.float32), terminal, truncated, first, self._last.copy()
        )

    def close(self) -> None:
        """Close every copy; calling it twice is harmless."""
        self._native.close()


def _start(env_id: str, num_envs: int, options: EnvOptions, **more: Any) -> VectorEnv:  # noqa: ANN401
    """Copies of an env as it is registered, but no episode is without end."""
    limit = partial(TimeLimit, max_episode_steps=options.max_episode_frames)
    return gymnasium.make_vec(
        env_id,
        num_envs,
        vectorization_mode="sync",
        vector_kwargs={"autoreset_mode": AutoresetMode.NEXT_STEP},
        wrappers=[limit],
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
    if isinstance(space, Discrete):
        return space
    raise EnvError(f"'{env_id}' has actions {space}: allowed: Discrete")


def _frames(env_id: str, space: Space) -> tuple[tuple[int, ...], Callable]:
    """The shape of a frame, and the function from a batch of observations to frames."""
    match space:
        case Discrete():
            one_hot = np.eye(int(space.n), dtype=np.float32)
            return (int(space.n),), lambda obs: one_hot[obs - space.start]
        case Box() if space.dtype == np.uint8 and _is_picture(space.shape):
            return (_SIDE, _SIDE), lambda obs: np.stack([_luminance(image) for image in obs])
        case Box() if space.dtype != np.uint8 or len(space.shape) < 2:
            size = int(np.prod(space.shape))
            return (size,), lambda obs: np.array(obs, np.float32).reshape(len(obs), size)
    raise EnvError(
        f"'{env_id}' has observations {space}: allowed: Discrete, a Box of numbers, "
        "or a uint8 Box of shape (H, W), (H, W, 1) or (H, W, 3)"
    )


def _is_picture(shape: tuple[int, ...]) -> bool:
    return len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3))


def _luminance(image: np.ndarray) -> np.ndarray:
    """u8[H W], [H W 1] or [H W 3] -> u8[84 84], each pixel the mean of the area it covers."""
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[:, :, 0]
    grey = Image.fromarray(image).convert("L")  # ITU-R 601 weights
    return np.asarray(grey.resize((_SIDE, _SIDE), Image.Resampling.BOX))


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
