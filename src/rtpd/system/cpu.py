"""What this machine's processor can do, and whether two are of one kind."""

import platform
from functools import cache
from pathlib import Path

BF16 = ("amx_bf16", "avx512_bf16")  # either multiplies bfloat16
DECISIVE = ("avx2", "fma", "avx512f", "avx512_vnni", *BF16)


@cache
def features() -> frozenset[str]:
    """The instructions that the processor names, as Linux lists them; none where it does not."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    found = (line for line in lines if line.startswith(("flags", "Features")))
    return frozenset(next(found, "").partition(":")[2].split())


def kind() -> list[str]:
    """Those of its features that decide how programs round, for a manifest."""
    return [feature for feature in DECISIVE if feature in features()]


def fingerprint() -> str:
    """All that tells processors apart which cannot run each other's programs."""
    return " ".join([platform.machine(), platform.processor(), *sorted(features())])
