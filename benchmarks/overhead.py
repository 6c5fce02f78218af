"""What distillation costs: agent steps/s with and without students, in pairs on one machine.

Each pair is two short trainings through the command line, one after the other, in an order that
alternates. The rate is taken from metrics.jsonl after the warm-up and the compilation.

    python benchmarks/overhead.py --pairs 3 --students net1.7:kl --out overhead.json
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from rtpd.run import Run


def rate(students, steps, folder):
    """Agent steps/s of a training once it is under way, and its run's provenance."""
    warmup = 1_000
    command = [
        sys.executable, "-m", "rtpd", "train", "pong", "--preset", "cpu", "--quiet",
        "--students", *students, "--steps", str(warmup + steps), "--out", str(folder),
        "--replay.warmup-steps", str(warmup), "--replay.capacity", "20000",
        "--replay.no-save", "--log-steps", "200", "--checkpoint-steps", "0",
        "--evaluation.period-steps", "0", "--evaluation.episodes", "1",
        "--environment.max-episode-frames", "2000",
    ]  # fmt: skip
    subprocess.run(command, check=True)
    run = Run.open(folder)
    lines = [r for r in run.records() if r["kind"] == "train" and r["step"] > warmup + 300]
    first, last = lines[0], lines[-1]
    return (last["step"] - first["step"]) / (last["seconds"] - first["seconds"]), run.manifest


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3_000)
    parser.add_argument("--students", nargs="+", default=["net1.7:kl"])
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    pairs = []
    with tempfile.TemporaryDirectory() as folder:
        for i in range(args.pairs):
            families = {"with": args.students, "without": ["none"]}
            found = {}
            for name in sorted(families, reverse=bool(i % 2)):
                path = Path(folder) / f"{name}-{i}"
                found[name], manifest = rate(families[name], args.steps, path)
            found["ratio"] = found["with"] / found["without"]
            pairs.append(found)
            print(json.dumps(found), flush=True)
    median = {key: statistics.median(pair[key] for pair in pairs) for key in pairs[0]}
    result = {
        "students": args.students,
        "steps_per_second": median,
        "pairs": pairs,
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        **{key: manifest[key] for key in ("commit", "device", "machine", "python", "versions")},
    }
    print(json.dumps(median))
    if args.out:
        args.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
