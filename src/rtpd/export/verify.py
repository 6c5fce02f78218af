"""Whether an exported policy is the original: values, greedy actions, returns; and its speed."""

import time
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float, Int

from rtpd import envs
from rtpd.agents.evaluate import play
from rtpd.errors import RtpdError
from rtpd.networks.policy import HostPolicy, Policy
from rtpd.types import EvalResult

# How far two float32 programs of one net may differ, as a share of the largest Q-value: a sum of n
# terms in another order moves by about sqrt(n) roundings of 2^-24, and our longest have 4,096 to
# 8,192 of them; twice that, since layers add up. A tie is a gap that both together can close.
ROUNDING = 2 * 96 * 2.0**-24
LEAST_AGREEMENT = 0.75  # of an int8 form, ties apart; far below what a sound one reaches


def original_values(policy: Policy, frames: np.ndarray) -> Float[np.ndarray, "N A"]:
    """Q-values by JAX, in parts so that memory stays small."""

    @eqx.filter_jit
    def values(policy: Policy, part: ArrayLike) -> jax.Array:
        return policy.q_values(part)

    parts = [np.asarray(values(policy, frames[i : i + 256])) for i in range(0, len(frames), 256)]
    return np.concatenate(parts)


def compare(
    original: Float[np.ndarray, "N A"], exported: Float[np.ndarray, "N A"]
) -> dict[str, Any]:
    """Agreement of greedy actions, strictly and with ties, and the largest difference."""
    size = float(np.abs(original).max())
    rows = np.arange(len(original))
    theirs: Int[np.ndarray, " N"] = exported.argmax(axis=1)
    lost = original.max(axis=1) - original[rows, theirs]
    return {
        "frames": len(original),
        "agreement": float((theirs == original.argmax(axis=1)).mean()),
        "agreement_or_tied": float((lost <= 2 * ROUNDING * size).mean()),
        "max_difference": float(np.abs(exported - original).max()),
        "largest_value": size,
    }


def demand(found: dict[str, Any], *, exact: bool) -> None:
    """RtpdError in one line if the exported form is not what it should be; `exact`: float32."""
    values = "" if np.isfinite(found["max_difference"]) else "Q-values that are no numbers"
    share, limit = found["agreement_or_tied"], ROUNDING * found["largest_value"]
    if exact and share < 1:
        values = f"another greedy action on {100 * (1 - share):.2g} % of {found['frames']} frames"
    elif exact and found["max_difference"] > limit:
        values = f"Q-values that differ by {found['max_difference']:.2g}, more than {limit:.2g}"
    elif share < LEAST_AGREEMENT:
        values = f"the same action on {100 * share:.0f} %, fewer than {100 * LEAST_AGREEMENT:.0f} %"
    if values:
        raise RtpdError(f"the exported policy is not the original: {values}; nothing was written")


def returns(
    policy: Policy,
    exported: HostPolicy,
    options: envs.EnvOptions,
    *,
    episodes: int,
    epsilon: float,
    seed: int,
) -> dict[str, dict[str, Any]]:
    """Both play the same seeds."""
    both = {"original": policy, "exported": exported}
    played = play(both, options, episodes=episodes, epsilon=epsilon, seed=seed)
    return {name: _row(result) for name, result in played.items()}


def latency(exported: HostPolicy, frames: np.ndarray, *, calls: int = 2_000) -> dict[str, float]:
    """Microseconds of one call with one stack, the call from Python included."""
    times = np.empty(calls)
    for i in range(-50, calls):  # the first are not counted
        one = frames[i % len(frames)][None]
        start = time.perf_counter_ns()
        exported.q_values(one)
        times[i] = (time.perf_counter_ns() - start) / 1e3
    median, p99 = np.percentile(times, [50, 99])
    return {"latency_median_us": float(median), "latency_p99_us": float(p99)}


def _row(result: EvalResult) -> dict[str, Any]:
    return {
        "mean": result.mean,
        "standard_error": result.standard_error,
        "returns": list(result.returns),
    }
