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
from rtpd.export.quantise import Quantised
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
            "SCRATCH": used["scratch_bytes"], "STACK": _stack_bytes(policy),
            "P": name, "M": name.upper(),
            "K": spec.stack, "A": spec.num_actions, "FIRST": spec.first_action,
            "INPUT": "uint8_t" if quantised else "float",
            "OUTPUT": "int32_t" if quantised else "float",
        }  # fmt: skip
        own = _integers(policy, quantised, name) if quantised else _floats(policy, name)
        own["STEP"] = _template("step.h").substitute(common)
        template = _template("integers.h" if quantised else "floats.h")
        path.write_text(template.substitute(common | own), encoding="ascii")

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
        """Bytes of constants, of the state (frames, scratch, an index), of the scratch in it."""
        if quantised is None:
            layers = _dense(policy)
            numbers = 2 * prod(policy.spec.frame_shape)
            numbers += sum(layer.weight.size + layer.bias.size for layer in layers)
            flash, scratch = 4 * numbers, 4 * sum(_float_halves(layers))
        else:
            flash = quantised.centre.size
            for layer in quantised.layers:
                each = 4 if layer.multiplier is None else 9
                flash += layer.weight.size + each * layer.bias.size
            scratch = sum(_halves(quantised, policy.spec.stack)[:2])
        ram = sum(-(-part // 4) * 4 for part in (scratch, 4, _stack_bytes(policy)))
        return {"flash_bytes": flash, "ram_bytes": ram, "scratch_bytes": scratch}


def _template(name: str) -> string.Template:
    return string.Template(files("rtpd.export").joinpath(name).read_text())


def prefix(path: Path) -> str:
    """What the names in a header begin with: pong-net1.7.h -> pong_net1_7."""
    name = re.sub(r"[^A-Za-z0-9]+", "_", path.stem).strip("_")
    return name if name[:1].isalpha() else f"policy_{name}".rstrip("_")


def _integers(policy: Policy, quantised: Quantised, name: str) -> dict[str, Any]:
    """What stands in integers.h."""
    constants = [_array("uint8_t", f"{name}_centre", quantised.centre)]
    for i, layer in enumerate(quantised.layers):
        outputs_first = np.moveaxis(layer.weight, -1, 0)
        constants.append(_array("int8_t", f"{name}_weight{i}", outputs_first))
        constants.append(_array("int32_t", f"{name}_bias{i}", layer.bias))
        if layer.multiplier is not None:
            constants.append(_array("int32_t", f"{name}_multiplier{i}", layer.multiplier))
            constants.append(_array("uint8_t", f"{name}_shift{i}", layer.shift))
    height, width = policy.spec.frame_shape
    even, odd, window = _halves(quantised, policy.spec.stack)
    return {
        "UNIT": f"{quantised.unit:.9g}", "H": height, "W": width,
        "EVEN": even, "ODD": odd, "WINDOW": window,
        "CONSTANTS": "".join(constants), "CALLS": _calls(quantised, name),
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
        "F": prod(shape), "EVEN": even, "ODD": odd,
        "CONSTANTS": "".join(constants), "CALLS": "\n".join(calls),
    }  # fmt: skip


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


def _halves(model: Quantised, stack: int) -> tuple[int, int, int]:
    """Bytes of the scratch's halves, for what even and odd hidden layers give; and the window."""
    bytes_of = [h * w * c for h, w, c in _sizes(model)[:-1]]
    window = model.layers[0].weight.shape[0] ** 2 * stack
    even, odd = max(bytes_of[::2], default=1), max(2 * window, *bytes_of[1::2])
    return even + even % 2, odd + odd % 2, window  # even: the window of int16 is in the second


def _stack_bytes(policy: Policy) -> int:
    """Bytes of the newest frames."""
    return policy.spec.stack * prod(policy.spec.frame_shape) * (1 if policy.spec.is_image else 4)


def _calls(model: Quantised, name: str) -> str:
    """The statements that compute layer after layer."""
    lines, sizes = [], _sizes(model)
    halves = ("scratch->even", "scratch->odd.values")
    for i, (layer, (height, width, channels)) in enumerate(zip(model.layers, sizes, strict=True)):
        source, target = halves[(i - 1) % 2], halves[i % 2]
        k, depth = layer.weight.shape[0] if layer.is_conv else 1, layer.weight.shape[-2]
        row = prod(sizes[i - 1][1:]) if layer.is_conv else 0
        names = ", ".join(f"{name}_{part}{i}" for part in ("weight", "bias", "multiplier", "shift"))
        shape = f"{layer.stride}, {height}, {width}, {channels}"
        if i == 0:
            call = f"{name}_first(frames, scratch->odd.window, {target}, {names}, {k}, {shape});"
        elif layer.multiplier is not None:
            call = f"{name}_layer({source}, {target}, {names}, {k}, {depth}, {shape}, {row});"
        else:
            call = (
                f"for (int32_t a = 0; a < {name.upper()}_ACTIONS; a++)\n        q[a] = {name}_sum("
                f"{source}, {name}_weight{i} + a * {depth}, {name}_bias{i}[a], 1, {depth}, 0);"
            )
        lines.append(f"    {call}")
    return "\n".join(lines)


def _array(kind: str, name: str, values: np.ndarray) -> str:
    number = _float if kind == "float" else int
    flat, wide = [str(number(v)) for v in values.reshape(-1)], 8 if kind == "float" else 24
    rows = [",".join(part) for part in zip_longest(*[iter(flat)] * wide, fillvalue="")]
    body = ",\n".join(row.rstrip(",") for row in rows)
    return f"static const {kind} {name}[{len(flat)}] = {{\n{body}}};\n"


def _float(value: float | np.floating) -> str:
    """A float32 in C, to the last bit."""
    text = f"{value:.9g}"
    return f"{text}f" if {".", "e"} & set(text) else f"{text}.0f"
