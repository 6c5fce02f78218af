"""What nets compute in on this machine, and what their programs are compiled with."""

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from rtpd.types import EnvSpec

Compute = Literal["auto", "float32", "bfloat16"]

# Of bfloat16 on a CPU. XLA's own convolutions and products gain nothing from it; oneDNN's do, if
# XLA's library of fused products (YNNPACK) does not take them first.
ONEDNN = {
    "xla_cpu_experimental_onednn_custom_call": True,
    "xla_cpu_experimental_ynn_fusion_type": "",
}
BF16_FEATURES = ("amx_bf16", "avx512_bf16")
# Values of ONEDNN_MAX_CPU_ISA that keep oneDNN from what the CPU could do in bfloat16.
BELOW_BF16 = ("SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2", "AVX512_CORE", "AVX512_CORE_VNNI")


def resolve(compute: Compute) -> Literal["float32", "bfloat16"]:
    """What `auto` stands for here: bfloat16 on a GPU and on a CPU that multiplies it."""
    if compute != "auto":
        return compute
    if jax.default_backend() != "cpu":
        return "bfloat16"
    limited = os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper() in BELOW_BF16
    able = not limited and any(feature in cpu_features() for feature in BF16_FEATURES)
    return "bfloat16" if able else "float32"


def dtype(compute: Compute, spec: EnvSpec) -> DTypeLike:
    """What convolutions and the products behind them compute in; of vectors always float32."""
    return jnp.dtype(resolve(compute)) if spec.is_image else jnp.float32


def jit(function: Callable[..., Any], compute: Compute, **options: Any) -> Any:  # noqa: ANN401
    """`jax.jit`, with the compiler options that make nets fast on this machine."""
    onednn = jax.default_backend() == "cpu" and resolve(compute) == "bfloat16"
    return jax.jit(function, compiler_options=ONEDNN if onednn else None, **options)


@cache
def cpu_features() -> frozenset[str]:
    """The instructions that the processor names, as Linux lists them; none where it does not."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    found = (line for line in lines if line.startswith(("flags", "Features")))
    return frozenset(next(found, "").partition(":")[2].split())
