"""A long training, watched from outside: does its memory grow, its speed fall, its folder swell?

    taskset -c 1 nice -n 10 python scripts/soak.py --minutes 60 --out results/measurements/soak.json

(add `-- GAME FLAGS...` for other settings). Every few seconds it notes resident memory, steps and
the folder's size without metrics.jsonl, and judges the second half of the run by a straight line:
memory and folder may grow, and speed fall, by at most 5 % over it.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil

from rtpd.storage.provenance import now, provenance
from rtpd.storage.run_folder import Run

DEFAULT = [
    "pong", "--preset", "cpu", "--students", "net0.5:kl", "--teacher.net", "net4",
    "--steps", "100000000", "--replay.capacity", "20000", "--replay.warmup-steps", "3000",
    "--log-steps", "1000", "--checkpoint-steps", "10000", "--evaluation.period-steps", "20000",
    "--evaluation.episodes", "1", "--evaluation.final-episodes", "1",
]  # fmt: skip
MOST_CHANGE = 0.05


def folder_bytes(path):
    """All files but the metrics; a link counts once. What vanishes meanwhile counts as nothing."""
    sizes = {}
    for file in path.rglob("*"):
        try:
            found = file.stat()
        except FileNotFoundError:
            continue
        if file.is_file() and file.name != "metrics.jsonl":
            sizes[found.st_ino] = found.st_size
    return sum(sizes.values())


def watch(arguments, minutes, every, path):
    """Samples of (seconds, resident bytes, folder bytes), and (seconds, steps) of the metrics."""
    began = time.monotonic()
    limit = ["--minutes", str(minutes), "--out", str(path), "--quiet"]
    process = subprocess.Popen([sys.executable, "-P", "-m", "rtpd", "train", *arguments, *limit])
    about, samples = psutil.Process(process.pid), []
    while process.poll() is None:
        time.sleep(every)
        try:
            resident = about.memory_info().rss
        except psutil.NoSuchProcess:
            break
        if resident and path.is_dir():
            samples.append((time.monotonic() - began, resident, folder_bytes(path)))
    if process.wait():
        raise SystemExit(process.returncode)
    lines = [r for r in Run.open(path).records() if r["kind"] == "train"]
    return np.array(samples), np.array([(r["seconds"], r["step"]) for r in lines])


def change(times, values):
    """By which share the straight line through the second half of these values rises over it."""
    late = times >= times[-1] / 2
    slope, base = np.polyfit(times[late], values[late], 1)
    first, last = times[late][0], times[late][-1]
    return float(slope * (last - first) / (base + slope * first))


def judged(samples, steps):
    """Figures and changes, and whether all stayed within bounds."""
    seconds, resident, size = samples[:-2].T  # the last ones see the final evaluation
    middles, rates = steps[1:, 0], np.diff(steps[:, 1]) / np.diff(steps[:, 0])
    changes = {
        "memory": change(seconds, resident),
        "folder": change(seconds, size),
        "steps_per_second": change(middles, rates),
    }
    healthy = max(changes["memory"], changes["folder"]) <= MOST_CHANGE
    healthy &= changes["steps_per_second"] >= -MOST_CHANGE
    tenths = [part.mean(axis=0) for part in np.array_split(samples, 10)]
    return {
        "healthy": bool(healthy),
        "change_over_second_half": {name: round(c, 4) for name, c in changes.items()},
        "steps": int(steps[-1, 1]),
        "mean_steps_per_second": round(float(steps[-1, 1] / steps[-1, 0]), 1),
        "tenths": [
            {"seconds": round(s), "resident_mb": round(m / 1e6, 1), "folder_mb": round(f / 1e6, 2)}
            for s, m, f in tenths
        ],
        "steps_per_second_tenths": [round(float(p.mean()), 1) for p in np.array_split(rates, 10)],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--every", type=float, default=5, help="seconds between two samples")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    parser.add_argument("settings", nargs="*", help="of rtpd train, after --")
    args = parser.parse_args()
    about = provenance("cpu")
    keep = ("command", "commit", "machine", "python", "versions")
    settings = args.settings or DEFAULT
    with tempfile.TemporaryDirectory() as folder:
        found = judged(*watch(settings, args.minutes, args.every, Path(folder) / "run"))
    found |= {"settings": settings, **{name: about[name] for name in keep}, "ended": now()}
    print(json.dumps(found, indent=2))
    if args.out:
        args.out.write_text(json.dumps(found, indent=2) + "\n")
    raise SystemExit(0 if found["healthy"] else "not healthy")


if __name__ == "__main__":
    main()
