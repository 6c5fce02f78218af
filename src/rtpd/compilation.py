"""Compiled programs kept on disk, so that the next start need not wait for XLA."""

import hashlib
import os
from pathlib import Path

import jax

from rtpd import cpu

MAX_BYTES = 256 * 10**6  # the oldest programs go when more is kept
LEAST_SECONDS = 0.2  # what compiles faster is not kept


def keep_compiled() -> Path | None:
    """Let JAX keep compiled programs in the user's cache folder; returns it.

    JAX_COMPILATION_CACHE_DIR names another folder and JAX_ENABLE_COMPILATION_CACHE=false switches
    this off, as in any JAX program; None is returned then. The folder's name tells the CPU, since
    a home folder may be shared by machines that cannot run each other's programs.
    """
    if "JAX_COMPILATION_CACHE_DIR" in os.environ or not jax.config.jax_enable_compilation_cache:
        return None
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    digest = hashlib.sha256(cpu.fingerprint().encode()).hexdigest()[:8]
    folder = home / "rtpd" / f"jax-{digest}"
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_compilation_cache_max_size", MAX_BYTES)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", LEAST_SECONDS)
    return folder
