"""Kill a training before and after every system call that writes, and go on with each.

`python scripts/soak_calls.py --out results/measurements/soak-calls.json`. A run of CartPole goes
undisturbed and counts its calls of mkdir, fsync, replace, rename, link, unlink and rmdir in the run
folder. For each of them two more runs kill themselves (SIGKILL), one before the call and one after
it, and are gone on with: resumed where there is a manifest, started again in the same folder where
there is none, left alone where the manifest says that the run is finished. Weights, metrics
(without wall-clock fields), evaluations and the names of all files must be those of the first run,
so nothing of the kill may be left. `--every 10` takes each tenth call.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from functools import partial
from pathlib import Path

from soak_kill import outcome

from rtpd.storage.provenance import now, provenance

CALLS = ("mkdir", "fsync", "replace", "rename", "link", "unlink", "rmdir")
WHEN = ("before", "after")
SETTINGS = [
    "train", "gym/CartPole-v1", "--preset", "double-dqn", "--students", "mlp8:kl",
    "--teacher.net", "mlp16-16", "--steps", "800", "--log-steps", "96", "--checkpoint-steps", "200",
    "--replay.capacity", "800", "--replay.warmup-steps", "100", "--evaluation.period-steps", "240",
    "--evaluation.episodes", "1", "--evaluation.final-episodes", "1", "--quiet",
]  # fmt: skip


def watched(folder, number, when, log):
    """Have this process count its calls that write in a folder, and kill itself at one of them."""
    lock, count = threading.Lock(), 0

    def place(path, dir_fd=None):
        if isinstance(path, int):
            return os.readlink(f"/proc/self/fd/{path}")
        base = os.getcwd() if dir_fd is None else os.readlink(f"/proc/self/fd/{dir_fd}")
        return os.path.join(base, os.fsdecode(path))

    def call(original, name, path, *args, **options):
        nonlocal count
        where = place(path, options.get("dir_fd"))
        if where != folder and not where.startswith(folder + os.sep):
            return original(path, *args, **options)
        with lock:
            count += 1
            mine = count == number
            os.write(log, f"{name} {where.removeprefix(folder)}\n".encode())
        if mine and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        try:
            return original(path, *args, **options)
        finally:  # also where the call fails, as that of a folder that is there
            if mine:
                os.kill(os.getpid(), signal.SIGKILL)

    for name in CALLS:
        setattr(os, name, partial(call, getattr(os, name), name))


def child(folder, number, when, log, *arguments):
    """What a killed process runs: `rtpd` itself, watched."""
    from rtpd.cli.main import main

    watched(folder, int(number), when, os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC))
    return main(list(arguments))


def broken(path, number, when, log, settings=SETTINGS):
    """Train in a new folder until the call with that number; whether it was killed there."""
    done = subprocess.run(
        [sys.executable, __file__, "--child", str(path), str(number), when, str(log),
         *settings, "--out", str(path)],
        capture_output=True, text=True, env=os.environ | {"JAX_PLATFORMS": "cpu"},
    )  # fmt: skip
    if done.returncode not in (0, -signal.SIGKILL):
        raise SystemExit(done.stderr)
    return done.returncode != 0


def go_on(path, settings=SETTINGS):
    """The command that goes on with what a killed process has left."""
    begun = (path / "manifest.json").exists()
    return ["train", "--resume", str(path), "--quiet"] if begun else [*settings, "--out", str(path)]


def finished(path):
    """Whether a run was killed after its manifest had said that it is at its end."""
    manifest = path / "manifest.json"
    return manifest.exists() and json.loads(manifest.read_text())["status"] == "finished"


def names(path):
    """Every file and folder of a run."""
    return {str(p.relative_to(path)) for p in path.rglob("*")}


def soak(every, first, folder):
    whole, log = folder / "whole", folder / "calls"
    broken(whole, 0, "", log)
    expected, calls = (outcome(whole), names(whole)), log.read_text().splitlines()
    print(f"{len(calls)} calls", flush=True)
    failed = []
    for number in range(first, len(calls) + 1, every):
        for when in WHEN:
            path = folder / f"{number}-{when}"
            killed = broken(path, number, when, log)
            command = [sys.executable, "-P", "-m", "rtpd", *go_on(path)]
            left = killed and not finished(path)
            done = subprocess.run(command, capture_output=True, text=True) if left else None
            went = killed and (done is None or not done.returncode)
            good = went and (outcome(path), names(path)) == expected
            if not good:
                failed.append(f"{when} {number}: {log.read_text().splitlines()[-1]}")
                print(failed[-1], done and done.stderr, names(path) ^ expected[1], flush=True)
        print(f"{number} {calls[number - 1]}", flush=True)
    kinds = {name: sum(line.startswith(f"{name} ") for line in calls) for name in CALLS}
    return {"calls": kinds, "every": every, "failed": failed}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    args = parser.parse_args()
    began, about = time.monotonic(), provenance("cpu")
    with tempfile.TemporaryDirectory() as folder:
        os.environ.setdefault("JAX_PLATFORMS", "cpu")
        found = soak(args.every, args.first, Path(folder).resolve())
    result = {"date": now(), **found, "minutes": round((time.monotonic() - began) / 60, 1)}
    result |= {key: about[key] for key in ("commit", "machine", "python", "versions")}
    print(json.dumps(result, indent=2))
    if args.out:
        args.out.write_text(json.dumps(result, indent=2) + "\n")
    return 1 if found["failed"] else 0


if __name__ == "__main__":
    sys.exit(child(*sys.argv[2:]) if sys.argv[1:2] == ["--child"] else main())
