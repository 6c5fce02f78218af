"""Kill a training at random moments and go on with it; its end must be that of one never stopped.

`python scripts/soak_kill.py --kills 20 --out results/measurements/soak-kill-pong.json`. One run
goes undisturbed. Others get SIGKILL after a random time, or as soon as they say that they compile,
save or evaluate, and are resumed, until there were kills enough; each may finish in the end.
Weights, metrics (without wall-clock fields) and evaluations must be bit-identical with those of the
first. CPU only.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from rtpd.storage.provenance import now, provenance
from rtpd.storage.run_folder import Run

CLOCK = ("seconds", "steps_per_second")
MOMENTS = ("any time", "warm-up", "compiling", "saving a checkpoint", "final evaluation")
SETTINGS = {
    "gym/CartPole-v1": [
        "--preset", "double-dqn", "--students", "mlp8:kl", "mlp4:mse", "--teacher.net", "mlp16-16",
        "--steps", "12000", "--checkpoint-steps", "1500", "--log-steps", "400",
        "--replay.capacity", "4000", "--replay.warmup-steps", "500",
        "--evaluation.period-steps", "1000", "--evaluation.episodes", "2",
        "--evaluation.final-episodes", "4",
    ],
    "pong": [
        "--preset", "double-dqn", "--students", "net0.5:kl", "--teacher.net", "net1.7",
        "--steps", "3000", "--checkpoint-steps", "500", "--log-steps", "200",
        "--replay.capacity", "2000", "--replay.warmup-steps", "300",
        "--evaluation.period-steps", "1000", "--evaluation.episodes", "1",
        "--evaluation.final-episodes", "1", "--environment.max-episode-frames", "800",
    ],
}  # fmt: skip


class Attempt:
    """A process of `rtpd`, with the lines that it has printed so far."""

    def __init__(self, arguments):
        self.lines = []
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "rtpd", *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env=os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
        threading.Thread(target=lambda: self.lines.extend(self.process.stdout), daemon=True).start()

    def kill_at(self, moment, delay):
        """SIGKILL `delay` seconds after `moment`; whether it was still running then."""
        while moment != MOMENTS[0] and not any(moment in line for line in list(self.lines)):
            if self.process.poll() is not None:
                return False
            time.sleep(0.005)
        try:
            self.process.wait(delay)
            return False
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return True


def outcome(path):
    """All that two runs must have in common."""
    agents = {p.name: p.read_bytes() for p in sorted((path / "agents").glob("*.safetensors"))}
    records = [{k: v for k, v in r.items() if k not in CLOCK} for r in Run.open(path).records()]
    # An evaluation is written when it ends, beside the training.
    return agents, sorted(records, key=lambda r: (r["step"], r["kind"]))


def finish(arguments):
    done = Attempt(arguments)
    if done.process.wait() != 0:
        raise SystemExit("".join(done.lines))


def soak(env, kills, seed, folder):
    start = ["train", env, *SETTINGS[env], "--seed", str(seed)]
    whole, chance = folder / "whole", random.Random(seed)
    finish([*start, "--out", str(whole)])
    expected, killed, identical = outcome(whole), [], []
    while len(killed) < kills:
        path = folder / f"broken-{len(identical)}"
        killed += break_and_finish(start, path, kills - len(killed), chance)
        identical.append(outcome(path) == expected)
        print("identical" if identical[-1] else "DIFFERENT", flush=True)
    return {
        "env": env,
        "settings": start[2:],
        "kills": {moment: killed.count(moment) for moment in MOMENTS},
        "runs": len(identical),
        "identical": all(identical),
    }


def break_and_finish(start, path, most, chance):
    """A run killed at most so many times, and finished; the moments at which it was killed."""
    killed = []
    while True:
        begun = (path / "manifest.json").exists()
        if begun and Run.open(path).manifest["status"] == "finished":
            return killed  # before that moment came, or just as it was killed
        arguments = ["train", "--resume", str(path)] if begun else [*start, "--out", str(path)]
        if len(killed) == most:
            finish(arguments)
            return killed
        moment = chance.choices(MOMENTS, [5, 1, 1, 3, 1])[0]
        delay = chance.uniform(1, 8) if moment == MOMENTS[0] else chance.uniform(0, 0.05)
        attempt = Attempt(arguments)
        if attempt.kill_at(moment, delay):
            killed.append(moment)
            saved = sorted(p.name for p in (path / "checkpoints").glob("[0-9]*"))
            print(f"{len(killed):3d}  {moment} + {delay:.2f} s  checkpoints {saved}", flush=True)
        elif attempt.process.returncode:
            raise SystemExit("".join(attempt.lines))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--env", choices=SETTINGS, default="gym/CartPole-v1")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    args = parser.parse_args()
    began, about = time.monotonic(), provenance("cpu")
    with tempfile.TemporaryDirectory() as folder:
        found = soak(args.env, args.kills, args.seed, Path(folder))
    keep = ("command", "commit", "machine", "python", "versions")
    found |= {name: about[name] for name in keep}
    found |= {"seconds": round(time.monotonic() - began, 1), "ended": now()}
    print(json.dumps({k: v for k, v in found.items() if k != "versions"}, indent=2))
    if args.out:
        args.out.write_text(json.dumps(found, indent=2) + "\n")
    raise SystemExit(0 if found["identical"] else "weights, metrics or evaluations differ")


if __name__ == "__main__":
    main()
