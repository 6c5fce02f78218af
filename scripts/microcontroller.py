"""Students as firmware under QEMU: is it the same policy, and what does it take?

    python scripts/microcontroller.py --out results/measurements/microcontroller.json
    python scripts/microcontroller.py zoo:pong/net0.1 runs/cartpole/agents/mlp16.safetensors

Each source is exported (`rtpd export --to c`), compiled with examples/firmware for a Cortex-M0+, M4
and M33, and run under QEMU on what the agent sees while it plays. Actions and outputs must be
those of the same program on this machine, bit by bit. Bytes are arm-none-eabi-size's of the whole
firmware; the call stack's are those that were written to. Instructions are counted by QEMU
(`-icount shift=0`: one a nanosecond of the board's time) between two readings of a timer around a
step. They are counted, not timed: how many cycles an instruction takes depends on the part.

Needs gcc-arm-none-eabi, libnewlib-arm-none-eabi, qemu-system-arm (Debian's names), make and cc.
Ends with exit code 1 if an output differs.
"""

import argparse
import json
import runpy
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from rtpd.export import export
from rtpd.storage.files import write_json
from rtpd.storage.provenance import provenance

FIRMWARE = Path(__file__).resolve().parents[1] / "examples" / "firmware"
TOOLS = ("arm-none-eabi-gcc", "arm-none-eabi-size", "qemu-system-arm", "make", "cc")
SOURCES = ("zoo:pong/net1.7", "zoo:pong/net0.1")
TICK_NS = {"m0": 40, "m4": 40, "m33": 50}  # the boards' clocks: 25, 25 and 20 MHz
LEVELS = ("-Os", "-O2", "-O2 -funroll-loops")
CLOCK_HZ = 100e6  # assumed, for a figure in milliseconds
COUNTED = 8  # steps: the first ones, whose numbers of instructions hardly differ


def missing():
    """The tools that are not installed."""
    return [tool for tool in TOOLS if shutil.which(tool) is None]


def make(goal, header, sensor, target="m4", level="-O2", counted=False):
    """`make GOAL` of examples/firmware beside `header`; what it printed."""
    settings = [f"POLICY={header}", f"SENSOR={sensor}", f"TARGET={target}", f"OPT={level}"]
    if counted:
        settings.append("QEMU_FLAGS=-icount shift=0")
    command = ["make", "-s", "-f", FIRMWARE / "Makefile", goal, *settings, "BUILD=build"]
    done = subprocess.run(command, cwd=header.parent, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"error: make {goal} {' '.join(settings)}:\n{done.stdout}{done.stderr}")
    return done.stdout


def run(header, sensor, target="m4", level="-O2", counted=False):
    """What the firmware wrote, and {"steps", "ticks", "stack"} as it reports them."""
    said = make("run", header, sensor, target, level, counted)
    figures = dict(line.split() for line in said.splitlines())
    wrote = (header.parent / "build" / "actions.bin").read_bytes()
    return wrote, {key: int(value) for key, value in figures.items()}


def size(header, sensor, target, level):
    """Bytes of text, data and bss."""
    numbers = make("size", header, sensor, target, level).splitlines()[1].split()
    return dict(zip(("text", "data", "bss"), map(int, numbers), strict=False))


def measure(header, sensor, step_bytes):
    """Whether all targets give what this machine gives, and a row for each and each level."""
    make("host", header, sensor)
    expected = (header.parent / "build" / "host.bin").read_bytes()
    few = sensor.with_name("few.bin")
    few.write_bytes(sensor.read_bytes()[: COUNTED * step_bytes])
    rows = []
    for target, tick in TICK_NS.items():
        for level in LEVELS:
            wrote, said = run(header, sensor, target, level)
            counted = run(header, few, target, level, counted=True)[1]
            instructions = counted["ticks"] * tick / counted["steps"]
            rows.append(
                {
                    "target": target, "flags": level, "steps": said["steps"],
                    "identical": bool(expected) and wrote == expected,
                    **size(header, sensor, target, level), "call_stack": said["stack"],
                    "instructions_per_step": round(instructions),
                    "ms_at_100_mhz_if_one_cycle_each": round(1e3 * instructions / CLOCK_HZ, 3),
                }
            )  # fmt: skip
            print(json.dumps(rows[-1]), file=sys.stderr)
    return rows


def student(source, steps, folder):
    """One source's figures."""
    recorder = runpy.run_path(str(FIRMWARE / "record.py"))
    header, sensor = folder / "policy.h", folder / "policy.bin"
    made = export(source, to="c", out=header, episodes=1)
    firsts, frames = recorder["record"](source, None, steps=steps, skip=60, seed=1)
    recorder["save"](sensor, firsts, frames)
    told = ("env", "agent", "format", "flash_bytes", "ram_bytes", "scratch_bytes")
    return {
        "source": source, **{key: made[key] for key in told},
        "rows": measure(header, sensor, 1 + frames[0].nbytes),
    }  # fmt: skip


def version(tool):
    """The first line of its --version."""
    done = subprocess.run([tool, "--version"], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("sources", nargs="*", default=SOURCES, help=f"default: {SOURCES}")
    parser.add_argument("--steps", type=int, default=120, help="of play, each a new frame")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--out", type=Path, help="write them here")
    args = parser.parse_args()
    if missing():
        raise SystemExit(f"error: not installed: {', '.join(missing())}")
    origin = provenance("cpu")
    result = {
        "command": " ".join(["python", *sys.argv]), "commit": origin["commit"],
        "started": origin["started"], "machine": origin["machine"],
        "versions": {"rtpd": origin["versions"]["rtpd"], **{t: version(t) for t in TOOLS}},
        "instructions": "counted by QEMU, not timed", "students": [],
    }  # fmt: skip
    for source in args.sources:
        with tempfile.TemporaryDirectory() as folder:
            result["students"].append(student(source, args.steps, Path(folder)))
    if args.out:
        write_json(args.out, result)
    print(json.dumps(result, indent=2) if args.json else table(result))
    return int(not all(row["identical"] for s in result["students"] for row in s["rows"]))


def table(result):
    """The figures as Markdown."""
    numbers = ("text", "data", "bss", "call_stack", "instructions_per_step")
    lines = [f"| student | target | flags | the same | {' | '.join(numbers)} |", "|---" * 9 + "|"]
    for found in result["students"]:
        for row in found["rows"]:
            same = "yes" if row["identical"] else "NO"
            cells = [found["agent"], row["target"], row["flags"], same]
            cells += [f"{row[key]:,}" for key in numbers]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
