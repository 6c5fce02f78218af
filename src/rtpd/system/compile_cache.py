"""Compiled programs kept on disk, so that the next start need not wait for XLA."""

import hashlib
import os
import tempfile
import warnings
from pathlib import Path

import jax

from rtpd.system import cpu

MAX_BYTES = 256 * 10**6  # the oldest programs go when more is kept
LEAST_SECONDS = 0.2  # what compiles faster is not kept


def keep_compiled() -> Path | None:
    """Let JAX keep compiled programs in the user's cache folder; returns it.

    JAX_COMPILATION_CACHE_DIR names another folder and JAX_ENABLE_COMPILATION_CACHE=false switches
    this off, as in any JAX program; None is returned then, and where the folder cannot be written
    to. The folder's name tells the CPU, since a home folder may be shared by machines that cannot
    run each other's programs. A program that cannot be kept is compiled again next time, which is
    no reason for words.
    """
    warnings.filterwarnings("ignore", r"Error (reading|writing) persistent compilation cache")
    if "JAX_COMPILATION_CACHE_DIR" in os.environ or not jax.config.jax_enable_compilation_cache:
        return None
    digest = hashlib.sha256(cpu.fingerprint().encode()).hexdigest()[:8]
    try:
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        folder = home / "rtpd" / f"jax-{digest}"
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (OSError, RuntimeError):  # RuntimeError: the user has no home
        return None
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_compilation_cache_max_size", MAX_BYTES)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", LEAST_SECONDS)
    return folder
