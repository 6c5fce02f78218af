"""What is set for the whole process and would change what rtpd computes, or keep it from doing so.

JAX reads some hundred settings from the environment (JAX_ENABLE_X64, JAX_DEBUG_NANS, ...). A run
must be the same under any of them, and what it writes readable under any other.
"""

import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager

import jax

from rtpd.errors import ConfigError

# JAX's own defaults: of types, of random numbers, of rounding, and of what it refuses to do.
_SETTINGS = {
    "jax_enable_x64": False,
    "jax_default_prng_impl": "threefry2x32",
    "jax_threefry_partitionable": True,
    "jax_enable_custom_prng": False,
    "jax_random_seed_offset": 0,
    "jax_legacy_prng_key": "allow",
    "jax_high_dynamic_range_gumbel": False,
    "jax_default_matmul_precision": None,
    "jax_accurate_erf_inv": False,
    "jax_softmax_custom_jvp": False,
    "jax_disable_most_optimizations": False,
    "jax_disable_jit": False,
    "jax_no_tracing": False,
    "jax_numpy_rank_promotion": "allow",
    "jax_numpy_dtype_promotion": "standard",
    "jax_debug_nans": False,  # rtpd looks for NaN itself, and uses it where there is no value
    "jax_debug_infs": False,
    "jax_debug_key_reuse": False,
    "jax_check_tracer_leaks": False,
    "jax_enable_checks": False,
    "jax_error_checking_behavior_nan": "ignore",
    "jax_error_checking_behavior_divide": "ignore",
    "jax_error_checking_behavior_oob": "ignore",
    "jax_thread_guard": False,
    "jax_transfer_guard": None,
    "jax_transfer_guard_host_to_device": None,
    "jax_transfer_guard_device_to_host": None,
    "jax_transfer_guard_device_to_device": None,
    "jax_raise_persistent_cache_errors": False,
}


@contextmanager
def settled() -> Generator[None]:
    """Give JAX the settings that rtpd is made for; afterwards it has the user's again.

    Also a decorator. ConfigError if JAX has no device to compute with.
    """
    ours = {name: value for name, value in _SETTINGS.items() if name in jax.config.values}
    before = {name: jax.config.values[name] for name in ours}
    try:
        _set(ours)
        backend()
        yield
    finally:
        _set(before)


def backend() -> str:
    """The kind of device that JAX computes with ("cpu", "gpu"); ConfigError if it has none."""
    try:
        return jax.default_backend()
    except (RuntimeError, AssertionError) as error:  # an assertion where a plugin is missing
        platforms = os.environ.get("JAX_PLATFORMS") or jax.config.jax_platforms
        said = " ".join(str(error).split())[:200]
        raise ConfigError(
            f"JAX_PLATFORMS={platforms}: JAX finds no such device on this machine"
            f"{f' ({said})' if said else ''}: allowed: cpu, or leave it unset"
        ) from None


def _set(values: Mapping[str, object]) -> None:
    for name, value in values.items():
        if jax.config.values[name] != value:
            jax.config.update(name, value)
