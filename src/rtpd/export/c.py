"""A student as one C99 header: of images in integers alone, of vectors in float32.

The former is bit-identical to `Quantised.outputs`. A header is integers.h or floats.h with the
net's numbers in it; all that it defines is called by its file's name, so that any number of them
live in one program. It is compiled here with the C compiler `cc` ($CC names another) and what it
computes is compared; the compiler never sees the agent's names.
"""

import ctypes
import os
import re
import shutil
import string
import subprocess
from importlib.resources import files
from itertools import zip_longest
from math import prod
from pathlib import Path
from typing import Any, cast

import numpy as np

from rtpd.errors import RequestError, RtpdError
from rtpd.export.about import describe, harmless
from rtpd.export.quantise import Layer, Quantised
from rtpd.export.target import ExportTarget
from rtpd.networks.layers import Dense
from rtpd.networks.policy import HostPolicy, Policy
from rtpd.networks.qnet import QNet

HALVES = ("odd", "even")  # of the scratch: what a layer reads and writes, in turn
FLAGS = ("-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-O2")


class CTarget(ExportTarget):
    """One C99 header."""

    suffix = ".h"
    images_are_int8 = True

    def check(self, policy: Policy, *, int8: bool) -> None:
        """RequestError for a net that C cannot have, or without a compiler to check it with."""
        if not int8:
            _dense(policy)
        _compiler()

    def write(self, policy: Policy, path: Path, quantised: Quantised | None) -> None:
        """Write the header."""
        about, used, spec = describe(policy, quantised), self.facts(policy, quantised), policy.spec
        said = {key: about["agent"].get(key) for key in ("agent", "net", "step", "seed", "commit")}
        meanings, name = " ".join(spec.action_meanings), prefix(path)
        common = {
            "ABOUT": harmless(f"{spec.name}, rtpd {about['rtpd']}, {said}, actions: {meanings}"),
            "FLASH": used["flash_bytes"], "RAM": used["ram_bytes"],
            "P": name, "M": name.upper(),
            "K": spec.stack, "A": spec.num_actions, "FIRST": spec.first_action,
        }  # fmt: skip
        own = _floats(policy, name) if quantised is None else _integers(policy, quantised, name)
        template = files("rtpd.export").joinpath("floats.h" if quantised is None else "integers.h")
        text = string.Template(template.read_text()).substitute(common | own)
        path.write_text(text, encoding="ascii")

    def load(self, path: Path, policy: Policy, quantised: Quantised | None) -> HostPolicy:
        """The header compiled as a library beside it, and called for one stack after the other."""
        source, library, name = path.with_suffix(".c"), path.with_suffix(".so"), prefix(path)
        kinds = ("uint8_t", "int32_t") if quantised else ("float", "float")
        call = "int32_t act(const {} *f, {} *q)".format(*kinds)
        source.write_text(
            f'#include "{path.resolve()}"\n{call};\n'
            f"{call} {{ static {name}_scratch s; return {name}_act(f, q, &s); }}\n"
        )
        command = [_compiler(), *FLAGS, "-shared", "-fPIC", "-o", str(library), str(source)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise RtpdError(f"the header does not compile: {' '.join(done.stderr.split())[:300]}")
        act = ctypes.CDLL(str(library.resolve())).act
        unit, number = np.float32(quantised.unit if quantised else 1), "i4" if quantised else "f4"

        def q_values(obs: np.ndarray) -> np.ndarray:
            frames = np.ascontiguousarray(obs)
            q = np.empty((len(obs), policy.spec.num_actions), number)
            for one, out in zip(frames, q, strict=True):
                act(ctypes.c_void_p(one.ctypes.data), ctypes.c_void_p(out.ctypes.data))
            return q.astype(np.float32) * unit

        return HostPolicy(q_values, policy.spec, policy.provenance)

    def facts(self, policy: Policy, quantised: Quantised | None) -> dict[str, Any]:
        """Bytes of constants and of scratch."""
        if quantised is None:
            layers = _dense(policy)
            numbers = 2 * prod(policy.spec.frame_shape)
            numbers += sum(layer.weight.size + layer.bias.size for layer in layers)
            return {"flash_bytes": 4 * numbers, "ram_bytes": 4 * sum(_float_halves(layers))}
        flash = quantised.centre.size
        for layer in quantised.layers:
            flash += layer.weight.size + layer.bias.size * (4 if layer.multiplier is None else 9)
        return {"flash_bytes": flash, "ram_bytes": sum(_halves(_sizes(quantised)))}


def prefix(path: Path) -> str:
    """What the names in a header begin with: pong-net1.7.h -> pong_net1_7."""
    name = re.sub(r"[^A-Za-z0-9]+", "_", path.stem).strip("_")
    return name if name[:1].isalpha() else f"policy_{name}".rstrip("_")


def _integers(policy: Policy, quantised: Quantised, name: str) -> dict[str, Any]:
    """What stands in integers.h."""
    sizes, spec = _sizes(quantised), policy.spec
    constants = [_array("uint8_t", f"{name}_centre", quantised.centre)]
    for i, layer in enumerate(quantised.layers):
        outputs_first = np.moveaxis(layer.weight, -1, 0)
        constants.append(_array("int8_t", f"{name}_weight{i}", outputs_first))
        constants.append(_array("int32_t", f"{name}_bias{i}", layer.bias))
        if layer.multiplier is not None:
            constants.append(_array("int32_t", f"{name}_multiplier{i}", layer.multiplier))
            constants.append(_array("uint8_t", f"{name}_shift{i}", layer.shift))
    (height, width), (even, odd) = spec.frame_shape, _halves(sizes)
    return {
        "UNIT": f"{quantised.unit:.9g}", "STACK": spec.stack * height * width,
        "H": height, "W": width, "EVEN": even, "ODD": odd, "CONSTANTS": "".join(constants),
        "CALLS": _calls(quantised, spec.stack, name),
    }  # fmt: skip


def _dense(policy: Policy) -> tuple[Dense, ...]:
    """The layers of a net of dense layers; RequestError for another net of vectors."""
    net, actions = policy.net, policy.spec.num_actions
    if isinstance(net, QNet) and len(net.streams) == 1 and net.activation == "relu":
        layers = (*net.torso, *net.streams[0])
        plain = all(isinstance(layer, Dense) and not layer.norm for layer in layers)
        if plain and net.num_outputs == actions:
            return cast("tuple[Dense, ...]", layers)
    raise RequestError(
        "--to c takes nets of vectors that have dense layers with ReLU, one stream and one output "
        "per action, as students have; --to onnx takes more"
    )


def _floats(policy: Policy, name: str) -> dict[str, Any]:
    """What stands in floats.h; the layers read and write the two halves of the scratch in turn."""
    layers, spec = _dense(policy), policy.spec
    sees, shape = policy.preprocess, spec.frame_shape
    parts = {"centre": sees.centre, "scale": np.broadcast_to(sees.scale, shape)}
    constants = [_array("float", f"{name}_{key}", np.asarray(v)) for key, v in parts.items()]
    calls = []
    for i, layer in enumerate(layers):
        weight, bias = np.asarray(layer.weight), np.asarray(layer.bias)
        constants.append(_array("float", f"{name}_weight{i}", weight.T))
        constants.append(_array("float", f"{name}_bias{i}", bias))
        hidden = int(i < len(layers) - 1)
        source, target = (f"scratch->{half}" for half in (HALVES, HALVES[::-1])[i % 2])
        target = target if hidden else "q"
        calls.append(
            f"    {name}_layer({source}, {target}, {name}_weight{i}, {name}_bias{i}, "
            f"{weight.shape[0]}, {bias.size}, {hidden});"
        )
    even, odd = _float_halves(layers)
    return {
        "F": prod(shape),
        "EVEN": even,
        "ODD": odd,
        "CONSTANTS": "".join(constants),
        "CALLS": "\n".join(calls),
    }


def _float_halves(layers: tuple[Dense, ...]) -> tuple[int, int]:
    """Numbers in the scratch's halves: `odd` begins with the inputs."""
    inputs = [int(layer.weight.shape[0]) for layer in layers]
    return max(inputs[1::2], default=1), max(inputs[::2])


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


def _calls(model: Quantised, stack: int, name: str) -> str:
    """The statements that compute layer after layer."""
    lines, sizes = [], _sizes(model)
    for i, (layer, (height, width, channels)) in enumerate(zip(model.layers, sizes, strict=True)):
        source = "frames" if i == 0 else f"scratch->{('even', 'odd')[(i - 1) % 2]}"
        target, centre = f"scratch->{('even', 'odd')[i % 2]}", f"{name}_centre" if i == 0 else "0"
        k, depth, steps = _reading(layer, model, sizes, i, stack)
        names = f"{name}_weight{i}, {name}_bias{i}"
        if layer.multiplier is None:
            lines.append(
                f"    for (int32_t a = 0; a < {name.upper()}_ACTIONS; a++)\n"
                f"        q[a] = {name}_sum({source}, {centre}, {name}_weight{i} + a * {depth}, "
                f"{name}_bias{i}[a], 1, {depth}, {steps});"
            )
        else:
            lines.append(
                f"    {name}_layer({source}, {centre}, {target}, {names}, {name}_multiplier{i}, "
                f"{name}_shift{i},\n               {k}, {depth}, {layer.stride}, "
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
    number = _float if kind == "float" else int
    flat, wide = [str(number(v)) for v in values.reshape(-1)], 8 if kind == "float" else 24
    rows = [",".join(part) for part in zip_longest(*[iter(flat)] * wide, fillvalue="")]
    body = ",\n".join(row.rstrip(",") for row in rows)
    return f"static const {kind} {name}[{len(flat)}] = {{\n{body}}};\n"


def _float(value: float) -> str:
    """A float32 in C, to the last bit."""
    text = f"{value:.9g}"
    return f"{text}f" if {".", "e"} & set(text) else f"{text}.0f"
