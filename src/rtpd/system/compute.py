"""What nets compute in on this machine, and what their programs are compiled with."""

import os
import warnings
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from rtpd.system import cpu
from rtpd.system.process import backend

Compute = Literal["auto", "float32", "bfloat16"]
# Of bfloat16 on a CPU. XLA's own convolutions and products gain nothing from it; oneDNN's do, if
# XLA's other library (YNNPACK) does not take the products first. That one keeps the reductions,
# without which the gradient's norm alone would take a sixth of the update.
ONEDNN = {
    "xla_cpu_experimental_onednn_custom_call": True,
    "xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_REDUCE",
}
# Values of ONEDNN_MAX_CPU_ISA that keep oneDNN from what the CPU could do in bfloat16.
BELOW_BF16 = ("SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2", "AVX512_CORE", "AVX512_CORE_VNNI")


def resolve(compute: Compute) -> Literal["float32", "bfloat16"]:
    """What `auto` stands for here: bfloat16 on a GPU and on a CPU that multiplies it."""
    if compute != "auto":
        return compute
    if backend() != "cpu":
        return "bfloat16"
    limited = os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper() in BELOW_BF16
    able = any(feature in cpu.features() for feature in cpu.BF16)
    return "bfloat16" if able and not limited else "float32"


def dtype(compute: Compute, *, is_image: bool) -> DTypeLike:
    """What convolutions and the products behind them compute in; of vectors always float32."""
    return jnp.dtype(resolve(compute)) if is_image else jnp.float32


def jit(function: Callable[..., Any], compute: Compute, **options: Any) -> Any:  # noqa: ANN401
    """`jax.jit`, with the compiler options that make nets fast on this machine."""
    onednn = backend() == "cpu" and resolve(compute) == "bfloat16"
    if onednn:
        # XLA cannot write a program with oneDNN's calls to disk (jaxlib 0.12), and JAX would say so
        # of each: such programs are compiled at every start, the others come from the cache.
        warnings.filterwarnings("ignore", "Error writing persistent compilation cache entry")
    return jax.jit(function, compiler_options=ONEDNN if onednn else None, **options)
