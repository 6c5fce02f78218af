"""What the families share: seeds and actions."""

import numpy as np
from jaxtyping import Int
from numpy.typing import ArrayLike

from rtpd.errors import EnvError


def env_seeds(seed: int, num_envs: int) -> Int[np.ndarray, " E"]:
    """A seed for each env, int32 >= 0, hashed so that neighbouring run seeds share none."""
    # ALE seeds are signed 32-bit, and -1 would mean "from the clock".
    return (np.random.SeedSequence(seed).generate_state(num_envs) >> 1).astype(np.int32)


def valid_actions(action: ArrayLike, num_envs: int, num_actions: int) -> Int[np.ndarray, " E"]:
    """The actions as an int32[E] of the callee's own.

    Raises:
        EnvError: if their number or a value does not fit. Worth a check on every step: ALE's
            worker threads swallow a bad action and `recv` would then wait for ever.
    """
    action = np.array(action)
    fits = action.shape == (num_envs,) and action.dtype.kind in "iu"
    if not fits or action.min() < 0 or action.max() >= num_actions:
        several = "s" * (num_envs != 1)
        raise EnvError(
            f"actions {action.tolist()} ({action.dtype}) do not fit {num_envs} env{several} "
            f"with actions 0..{num_actions - 1}"
        )
    return action.astype(np.int32)
