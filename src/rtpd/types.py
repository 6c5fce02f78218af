"""The data that passes between rooms.

Letters in shapes: E envs, C rows of the replay, B batch, K frames in a stack, A actions,
and `*F` the shape of one frame: (84, 84) for images, (D,) for vectors.
Units: a *step* (agent step) is one action in one env; it lasts `frames_per_step` emulator frames.
"""

from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import msgspec
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int, UInt8

_Size = Annotated[int, msgspec.Meta(ge=1, le=2**16)]


@dataclass(frozen=True)
class EnvSpec:
    """What a net must know of an environment.

    `frame_dtype` is "uint8" for images (values 0..255) and "float32" for vectors.
    `action_meanings` has `num_actions` names, in the order of the action indices; the env itself
    takes an index plus `first_action`.
    The bounds hold where a spec is read from a file (`msgspec.convert`). A name with a colon
    would have Gymnasium import a module.
    """

    name: Annotated[str, msgspec.Meta(max_length=200, pattern=r"^[^:]*$")]
    num_actions: _Size
    frame_shape: Annotated[tuple[_Size, ...], msgspec.Meta(min_length=1, max_length=2)]
    frame_dtype: Literal["uint8", "float32"] = "uint8"
    stack: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 4
    frames_per_step: _Size = 4
    action_meanings: tuple[Annotated[str, msgspec.Meta(max_length=200)], ...] = ()
    first_action: Annotated[int, msgspec.Meta(ge=-(2**31), lt=2**31)] = 0

    @property
    def is_image(self) -> bool:
        """Whether a frame is an image, that is whether convolutional nets apply."""
        return len(self.frame_shape) == 2

    @property
    def scale_shape(self) -> tuple[int, ...]:
        """Shape of what frames are divided by: one number for images, one a feature for vectors."""
        return () if self.is_image else self.frame_shape


class Timestep(NamedTuple):
    """What E envs say after a step. NumPy arrays, owned by the receiver.

    Resets are steps of their own (Gymnasium's NEXT_STEP autoreset): the row after an episode's
    last frame has `first` set and reward 0, and the action that was sent for it was ignored.
    `terminal` and `truncated` are never both set. A lost life that counts as terminal does not
    end the episode: no `first` follows it and the stack of frames goes on.
    """

    frame: UInt8[np.ndarray, "E *F"] | Float[np.ndarray, "E *F"]
    reward: Float[np.ndarray, " E"]  # unclipped, of the step that led here
    terminal: Bool[np.ndarray, " E"]  # the value of this state is 0
    truncated: Bool[np.ndarray, " E"]  # cut off by a time limit: bootstrap from this frame
    first: Bool[np.ndarray, " E"]  # this frame begins an episode
    last: Bool[np.ndarray, " E"]  # this frame ends an episode; the action sent next is ignored


@runtime_checkable
class VectorEnv(Protocol):
    """E copies of an environment, stepped together; `send` returns at once where it can."""

    spec: EnvSpec
    num_envs: int

    def reset(self, seed: int) -> Timestep:
        """Start an episode in every env, all randomness derived from `seed`; all are `first`."""
        ...

    def send(self, action: Int[np.ndarray, " E"]) -> None:
        """Begin a step with one action index an env (int32 or int64, 0 <= action < num_actions)."""
        ...

    def recv(self) -> Timestep:
        """Wait for the step begun by `send`."""
        ...

    def close(self) -> None:
        """Free the emulators; calling it twice is harmless."""
        ...


@runtime_checkable
class Screen(Protocol):
    """Pictures u8[H W 3] of one env for people: another copy of it, kept in step."""

    def reset(self, seed: int) -> UInt8[np.ndarray, "H W 3"]:
        """The picture of the first frame."""
        ...

    def step(self, action: int) -> UInt8[np.ndarray, "H W 3"]:
        """The picture of the frame that follows on an action (ignored where it is `first`)."""
        ...

    def close(self) -> None:
        """Free the copy; calling it twice is harmless."""
        ...


class Transitions(NamedTuple):
    """A minibatch of n-step transitions; `obs` are raw frames, oldest first along K."""

    obs: Array  # [B K *F], u8 for images
    action: Int[Array, " B"]
    reward: Float[Array, " B"]  # n-step discounted sum, clipped per step if asked
    discount: Float[Array, " B"]  # gamma^n, 0 where the window holds a terminal
    next_obs: Array  # [B K *F]


class Preprocess(eqx.Module):
    """Raw frames to a net's input: (frame - centre) / scale, frames moved to the last axis.

    Both are part of what an observation *is*: a small net that sees frame / 255 sees little but
    the bright constant background, and collapses to one output for every frame
    (docs/LOG.md#why-a-measured-scale). They are estimated once, frozen, and travel with every
    policy and export. The pixels of images share one scale; each feature of a vector has its own
    (one for all in agents saved before).
    """

    centre: Float[Array, " *F"]
    scale: Float[Array, " *S"]

    def __call__(self, obs: Array, dtype: DTypeLike = jnp.float32) -> Float[Array, "..."]:
        """Map [... K *F] to [... H W K] for images and to [... K*D] for vectors, of `dtype`."""
        x = ((obs.astype(jnp.float32) - self.centre) / self.scale).astype(dtype)
        if self.centre.ndim == 2:
            return jnp.moveaxis(x, -3, -1)
        return x.reshape(*x.shape[: -1 - self.centre.ndim], -1)


@dataclass(frozen=True)
class EvalResult:
    """Undiscounted, unclipped returns of whole episodes of one agent."""

    agent: str
    env: str
    returns: tuple[float, ...]
    lengths: tuple[int, ...]  # agent steps
    epsilon: float
    cut_off: int = 0  # episodes that did not end by themselves within the longest that is allowed

    @property
    def mean(self) -> float:
        """Mean return."""
        return float(np.mean(self.returns))

    @property
    def standard_error(self) -> float:
        """Standard error of the mean return; 0 for a single episode."""
        n = len(self.returns)
        return float(np.std(self.returns, ddof=1) / np.sqrt(n)) if n > 1 else 0.0

    @property
    def median(self) -> float:
        """Median return."""
        return float(np.median(self.returns))


def num_parameters(tree: object) -> int:
    """How many numbers a pytree of arrays, or of their shapes, holds."""
    return sum(leaf.size for leaf in jax.tree.leaves(tree))
