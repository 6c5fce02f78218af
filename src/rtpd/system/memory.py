"""How much memory a run may take, checked before it starts, and how much it took."""

import resource
import sys
from pathlib import Path

import jax
import psutil

from rtpd.errors import ConfigError

# What Atari runs took at most beside their replay, most of it while XLA compiles
# (docs/LOG.md#memory).
PROGRAM_BYTES = 800 * 10**6
ENV_BYTES = 1_300_000

CGROUPS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    (
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes",
    ),
)


def free_bytes() -> int:
    """Memory free where JAX keeps its arrays: the GPU's, or the machine's within its cgroup."""
    stats = jax.devices()[0].memory_stats()
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"] - stats["bytes_in_use"]
    free = psutil.virtual_memory().available
    for limit, used in CGROUPS:
        try:
            free = min(free, int(Path(limit).read_text()) - int(Path(used).read_text()))
        except (OSError, ValueError):
            continue  # no such cgroup, or "max"
    return free


def program_bytes(num_envs: int) -> int:
    """About what a run takes beside its replay: program, nets, compiler, emulators, batches."""
    return PROGRAM_BYTES + num_envs * ENV_BYTES


def peak_bytes() -> int:
    """The most memory that this process has had so far (resident)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak  # elsewhere in kB


def check_replay(needed: int, free: int, capacity: int, reserve: int) -> None:
    """ConfigError with both numbers, and the capacity that would fit beside `reserve` bytes."""
    if needed + reserve > free:
        fits = max(0, int(capacity * (free - reserve) / needed))
        raise ConfigError(
            f"--replay.capacity {capacity}: needs {gigabytes(needed + reserve)} in all, "
            f"{gigabytes(free)} are free; {fits // 1000 * 1000} would fit"
        )


def gigabytes(number: int) -> str:
    """Bytes as GB with two digits after the point."""
    return f"{number / 1e9:.2f} GB"
