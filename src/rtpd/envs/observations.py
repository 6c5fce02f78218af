"""What a net sees of a Gymnasium observation space.

| observation space                                       | frame                 | stack |
|---------------------------------------------------------|-----------------------|-------|
| Box uint8 (H, W), (H, W, 1), (H, W, 3), (1 or 3, H, W)  | uint8 luminance 84x84 | 4     |
| Box uint8 (K, H, W), a stack of frames, newest last     | its newest, 84x84     | K     |
| any other Box; images with a side below 36              | float32, flattened    | 1     |
| Discrete                                                | float32, one-hot      | 1     |
| MultiDiscrete, MultiBinary; Tuple and Dict of all these | float32, flattened    | 1     |

Images with small sides are grids whose numbers are no brightnesses, so that none may be merged.
"""

from collections.abc import Callable
from math import prod
from typing import NamedTuple

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Space, Tuple
from gymnasium.wrappers import FlattenObservation
from PIL import Image

from rtpd.errors import EnvError, RtpdError

MOST_NUMBERS = 65_536
MOST_FRAMES = 16  # of a stack that an env makes itself
LEAST_SIDE = 36  # pixels: what the nets of Atari need
_SIDE = 84
_FAINT = 16  # of 255
_WHOLE = 2**24  # beyond it float32 has no longer every whole number


class Frames(NamedTuple):
    """`convert(obs, first)` makes frames of a batch of observations; `first` [E] begin episodes."""

    shape: tuple[int, ...]
    stack: int
    convert: Callable[[np.ndarray, np.ndarray], np.ndarray]


def flattened(env: gymnasium.Env) -> gymnasium.Wrapper:
    """The env, its observations made one Box of numbers where they have several parts."""
    parts = isinstance(env.observation_space, Tuple | Dict | MultiDiscrete | MultiBinary)
    return FlattenObservation(env) if parts else gymnasium.Wrapper(env)


def check(env_id: str, space: Space) -> None:
    """EnvError unless `frames` knows the space; nothing of its size is allocated."""
    if _kind(space) is None:
        raise EnvError(
            f"'{env_id}' has observations {' '.join(str(space).split())[:300]}: allowed: Box, "
            "Discrete, MultiDiscrete, MultiBinary, Tuple and Dict of these; a large uint8 Box must "
            f"be an image: (H, W), (H, W, 1 or 3), (1 or 3, H, W), or 2 to {MOST_FRAMES} frames "
            "(K, H, W)"
        )
    count = _numbers(space)
    if _kind(space) == "numbers" and not 1 <= count <= MOST_NUMBERS:
        raise EnvError(
            f"'{env_id}' has observations of {count:,} numbers: allowed: 1 to {MOST_NUMBERS:,}"
        )


def frames(env_id: str, space: Space) -> Frames:
    """How the observations of an env behind `flattened` become frames; EnvError as in `check`."""
    check(env_id, space)
    if isinstance(space, Discrete):
        first_state, count = int(space.start), int(space.n)
        return Frames((count,), 1, lambda obs, first: _one_hot(obs - first_state, count))
    shape, kind = tuple(space.shape or ()), _kind(space)
    if kind == "numbers":
        size = prod(shape)
        return Frames((size,), 1, lambda obs, first: float32(obs).reshape(len(obs), size))
    if kind == "frames":
        return Frames((_SIDE, _SIDE), shape[0], _Newest(env_id))
    turned = len(shape) == 3 and shape[2] not in (1, 3)
    return Frames(
        (_SIDE, _SIDE), 4,
        lambda obs, first: _grey(np.moveaxis(obs, 1, -1) if turned else obs),
    )  # fmt: skip


def float32(values: np.ndarray) -> np.ndarray:
    """A copy in float32; what does not fit becomes infinite, of which `GymEnv` tells."""
    with np.errstate(over="ignore"):
        return np.array(values, np.float32)


def losses(space: Space, obs: np.ndarray) -> list[str]:
    """What becomes alike by the conversion of an observation [*O], each in a line's words."""
    if _kind(space) not in ("image", "frames"):
        whole = np.issubdtype(obs.dtype, np.integer) and not isinstance(space, Discrete)
        if whole and np.abs(obs.astype(np.float64)).max(initial=0) > _WHOLE:
            return [f"has whole numbers beyond {_WHOLE:,}, of which float32 has not every one"]
        return []
    said, largest = [], int(obs.max())
    if 0 < largest <= _FAINT:
        said.append(f"has pixels of at most {largest} of 255, which grey levels may merge")
    last = obs if obs.shape[-1] == 3 else np.moveaxis(obs, 0, -1)
    if obs.ndim == 3 and last.shape[-1] == 3:
        colours = np.unique(last.reshape(-1, 3), axis=0)
        greys = len(np.unique(np.asarray(Image.fromarray(colours[None]).convert("L"))))
        if greys < len(colours) <= 64:  # a drawing, not a photograph
            said.append(f"has {len(colours)} colours, of which grey frames tell {greys} apart")
    return said


def _kind(space: Space) -> str | None:
    """Whether it is seen as "numbers", "image", or "frames" (a stack of them); None: not at all."""
    match space:
        case Discrete() | MultiDiscrete() | MultiBinary():
            return "numbers"
        case Tuple() | Dict():
            parts = space.spaces.values() if isinstance(space, Dict) else space.spaces
            return None if None in [_kind(part) for part in parts] else "numbers"
        case Box() if space.dtype != np.uint8 or len(space.shape) < 2:
            return "numbers"
        case Box(shape=(h, w) | (h, w, 1 | 3) | (1 | 3, h, w)) if min(h, w) >= LEAST_SIDE:
            return "image"
        case Box(shape=(k, h, w)) if 2 <= k <= MOST_FRAMES and min(h, w) >= LEAST_SIDE:
            return "frames"
        case Box() if sorted(space.shape)[-2] < LEAST_SIDE:
            return "numbers"
    return None


def _numbers(space: Space) -> int:
    """How many numbers the space takes when it is flattened."""
    match space:
        case Discrete():
            return int(space.n)
        case MultiDiscrete():
            return int(space.nvec.sum())
        case Dict():
            return sum(map(_numbers, space.spaces.values()))
        case Tuple():
            return sum(map(_numbers, space.spaces))
    return prod(space.shape or ())


def _one_hot(index: np.ndarray, count: int) -> np.ndarray:
    found = np.zeros((len(index), count), np.float32)
    found[np.arange(len(index)), index] = 1
    return found


class _Newest:
    """The newest frame of stacks [E K H W], which move by one frame a step."""

    def __init__(self, env_id: str) -> None:
        self._env_id, self._before = env_id, None

    def __call__(self, obs: np.ndarray, first: np.ndarray) -> np.ndarray:
        if self._before is not None:
            moved = (obs[:, :-1] == self._before[:, 1:]).all(axis=(1, 2, 3))
            if not (moved | first).all():
                raise RtpdError(
                    f"'{self._env_id}' has observations whose channels are no stack of frames that "
                    "moves by one a step, newest last: of such channels no net can see all"
                )
        self._before = obs.copy()
        return _grey(obs[:, -1])


def _grey(obs: np.ndarray) -> np.ndarray:
    return np.stack([_luminance(image) for image in obs])


def _luminance(image: np.ndarray) -> np.ndarray:
    """u8[H W], [H W 1] or [H W 3] -> u8[84 84], each pixel the mean of the area it covers."""
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[:, :, 0]
    grey = Image.fromarray(image).convert("L")  # ITU-R 601 weights
    return np.asarray(grey.resize((_SIDE, _SIDE), Image.Resampling.BOX))
