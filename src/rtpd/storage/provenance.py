"""Where a run comes from: command, commit, versions, machine, time."""

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from rtpd.system import cpu

PACKAGES = ("rtpd", "jax", "jaxlib", "equinox", "optax", "numpy", "ale-py", "gymnasium")


def provenance(device: str) -> dict[str, Any]:
    """What a manifest says of it; `device` is what nets compute on."""
    return {
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "commit": _commit(),
        "device": device,
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "cpu_features": cpu.kind(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
        "started": now(),
    }


def now() -> str:
    """UTC time to the second, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The commit that rtpd's source is at, with "+" if it was changed since; None if unknown."""
    here = Path(__file__).parents[1]
    try:
        commit, changes = (
            subprocess.run(
                ["git", "-C", str(here), *args],
                capture_output=True,
                text=True,
                check=True,
                timeout=5,
            ).stdout.strip()
            for args in (("rev-parse", "HEAD"), ("status", "--porcelain", "--", str(here)))
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return commit + ("+" if changes else "")
