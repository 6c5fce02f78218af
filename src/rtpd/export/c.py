"""A student as one C99 header: integers alone, bit-identical to `Quantised.outputs`.

The header is template.h with the net's numbers in it. It is compiled here with the C compiler `cc`
($CC names another) and what it computes is compared; the compiler never sees the agent's names.
"""

import ctypes
import os
import shutil
import string
import subprocess
from importlib.resources import files
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from rtpd.errors import RequestError, RtpdError
from rtpd.export.about import describe, harmless
from rtpd.export.quantise import Layer, Quantised
from rtpd.types import HostPolicy, Policy

SUFFIX = ".h"
ONLY_INT8 = True
FLAGS = ("-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-O2")


def check(policy: Policy, *, int8: bool) -> None:
    """RequestError if no compiler is there to check the header with."""
    del policy, int8
    _compiler()


def write(policy: Policy, path: Path, quantised: Quantised | None) -> None:
    """Write the header."""
    assert quantised is not None
    sizes, spec = _sizes(quantised), policy.spec
    constants = [_array("uint8_t", "rtpd_centre", quantised.centre)]
    for i, layer in enumerate(quantised.layers):
        outputs_first = np.moveaxis(layer.weight, -1, 0)
        constants.append(_array("int8_t", f"rtpd_weight{i}", outputs_first))
        constants.append(_array("int32_t", f"rtpd_bias{i}", layer.bias))
        if layer.multiplier is not None:
            constants.append(_array("int32_t", f"rtpd_multiplier{i}", layer.multiplier))
            constants.append(_array("uint8_t", f"rtpd_shift{i}", layer.shift))
    about, used = describe(policy, quantised), facts(policy, quantised)
    said = {key: about["agent"].get(key) for key in ("agent", "net", "step", "seed", "commit")}
    meanings = " ".join(spec.action_meanings)
    (height, width), (even, odd) = spec.frame_shape, _halves(sizes)
    template = string.Template(files("rtpd.export").joinpath("template.h").read_text())
    text = template.substitute(
        ABOUT=harmless(f"{spec.name}, rtpd {about['rtpd']}, {said}, actions: {meanings}"),
        FLASH=used["flash_bytes"], RAM=used["ram_bytes"], UNIT=f"{quantised.unit:.9g}",
        STACK=spec.stack * height * width, K=spec.stack, H=height, W=width, A=spec.num_actions,
        EVEN=even, ODD=odd, CONSTANTS="".join(constants), CALLS=_calls(quantised, spec.stack),
    )  # fmt: skip
    path.write_text(text, encoding="ascii")


def load(path: Path, policy: Policy, quantised: Quantised | None) -> HostPolicy:
    """The header compiled as a library beside it, and called for one stack after the other."""
    assert quantised is not None
    source, library = path.with_suffix(".c"), path.with_suffix(".so")
    source.write_text(
        f'#include "{path.resolve()}"\n'
        "int32_t act(const uint8_t *f, int32_t *q);\n"
        "int32_t act(const uint8_t *f, int32_t *q)"
        " { static rtpd_scratch s; return rtpd_act(f, q, &s); }\n"
    )
    command = [_compiler(), *FLAGS, "-shared", "-fPIC", "-o", str(library), str(source)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RtpdError(f"the header does not compile: {' '.join(done.stderr.split())[:300]}")
    act, unit = ctypes.CDLL(str(library.resolve())).act, np.float32(quantised.unit)

    def q_values(obs: np.ndarray) -> np.ndarray:
        frames, q = np.ascontiguousarray(obs), np.empty((len(obs), policy.spec.num_actions), "i4")
        for one, out in zip(frames, q, strict=True):
            act(ctypes.c_void_p(one.ctypes.data), ctypes.c_void_p(out.ctypes.data))
        return q.astype(np.float32) * unit

    return HostPolicy(q_values, policy.spec, policy.provenance)


def facts(policy: Policy, quantised: Quantised) -> dict[str, Any]:
    """Bytes of constants and of scratch."""
    del policy
    flash = quantised.centre.size
    for layer in quantised.layers:
        flash += layer.weight.size + layer.bias.size * (4 if layer.multiplier is None else 9)
    return {"flash_bytes": flash, "ram_bytes": sum(_halves(_sizes(quantised)))}


def _compiler() -> str:
    name = os.environ.get("CC", "cc")
    found = shutil.which(name)
    if found is None:
        raise RequestError(f"--to c checks the header with a C compiler: '{name}' is not installed")
    return found


def _sizes(model: Quantised) -> list[tuple[int, int, int]]:
    """Height, width, channels of what each layer gives."""
    (height, width), found = model.centre.shape, []
    for layer in model.layers:
        if layer.is_conv:
            k = layer.weight.shape[0]
            height, width = ((n - k) // layer.stride + 1 for n in (height, width))
        else:
            height = width = 1
        found.append((height, width, layer.bias.size))
    return found


def _halves(sizes: list[tuple[int, int, int]]) -> tuple[int, int]:
    """Bytes of the buffers for what even and odd hidden layers give."""
    bytes_of = [h * w * c for h, w, c in sizes[:-1]]
    return max(bytes_of[::2], default=1), max(bytes_of[1::2], default=1)


def _calls(model: Quantised, stack: int) -> str:
    """The statements that compute layer after layer."""
    lines, sizes = [], _sizes(model)
    for i, (layer, (height, width, channels)) in enumerate(zip(model.layers, sizes, strict=True)):
        source = "frames" if i == 0 else f"scratch->{('even', 'odd')[(i - 1) % 2]}"
        target, centre = f"scratch->{('even', 'odd')[i % 2]}", "rtpd_centre" if i == 0 else "0"
        k, depth, steps = _reading(layer, model, sizes, i, stack)
        names = f"rtpd_weight{i}, rtpd_bias{i}"
        if layer.multiplier is None:
            lines.append(
                "    for (int32_t a = 0; a < RTPD_ACTIONS; a++)\n"
                f"        q[a] = rtpd_sum({source}, {centre}, rtpd_weight{i} + a * {depth}, "
                f"rtpd_bias{i}[a], 1, {depth}, {steps});"
            )
        else:
            lines.append(
                f"    rtpd_layer({source}, {centre}, {target}, {names}, rtpd_multiplier{i}, "
                f"rtpd_shift{i},\n               {k}, {depth}, {layer.stride}, "
                f"{height}, {width}, {channels}, {steps});"
            )
    return "\n".join(lines)


def _reading(
    layer: Layer, model: Quantised, sizes: list[tuple[int, int, int]], i: int, stack: int
) -> tuple[int, int, str]:
    """Kernel, channels read, and the distances of a row, a column, a channel."""
    if not layer.is_conv:
        return 1, layer.weight.shape[0], "0, 0, 1"
    if i == 0:
        height, width = model.centre.shape
        return layer.weight.shape[0], stack, f"{width}, 1, {height * width}"
    _, width, channels = sizes[i - 1]
    return layer.weight.shape[0], channels, f"{width * channels}, {channels}, 1"


def _array(kind: str, name: str, values: np.ndarray) -> str:
    flat = [str(int(v)) for v in values.reshape(-1)]
    rows = [",".join(part) for part in zip_longest(*[iter(flat)] * 24, fillvalue="")]
    body = ",\n".join(row.rstrip(",") for row in rows)
    return f"static const {kind} {name}[{len(flat)}] = {{\n{body}}};\n"
