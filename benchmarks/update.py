"""rtpd's update without students beside PyTorch's of the same net, in turns on one machine.

    python3.11 -m venv peers && peers/bin/pip install torch numpy
    python benchmarks/update.py --python peers/bin/python --rounds 5 \
        --out results/measurements/update.json

rtpd's also draws and prepares the minibatch from a replay of frames; PyTorch's gets one that is
ready (see peer_update.py).
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import jax
import jax.random as jr

from rtpd.config.loading import load_config
from rtpd.learning import replay as ring
from rtpd.learning.update import Learner
from rtpd.storage.provenance import now, provenance
from rtpd.system import compute
from rtpd.training.collector import replay_of
from rtpd.types import EnvSpec, Preprocess

UPDATES = 60
PONG = EnvSpec("ale/pong", 6, (84, 84))


class Update:
    """The update of the preset `cpu` on a replay of noise."""

    def __init__(self, batch_size, precision):
        settings = load_config("cpu")
        self.config = replace(
            settings,
            students=("none",),
            compute=precision,
            teacher=replace(settings.teacher, net="nature"),
            rollout=replace(settings.rollout, minibatch_size=batch_size),
        )
        self.learner = Learner(self.config, {"pong": PONG})
        shape = replay_of(self.config, PONG)
        replay = ring.init(shape)
        frames = jr.randint(jr.key(0), replay.frames.shape, 0, 256).astype("uint8")
        self.replays = {"pong": replay._replace(frames=frames, filled=replay.filled + shape.rows)}
        see = Preprocess(*ring.frame_statistics(self.replays["pong"]))
        self.state = jax.jit(self.learner.init)(jr.key(0), {"pong": see})
        self.totals = self.learner.zero_metrics()
        self.rollouts = compute.jit(self.learner.plan, precision)(self.state, self.replays)
        self.run = compute.jit(self.learner.update, precision, donate_argnums=(0, 1))
        self.milliseconds()

    def milliseconds(self):
        times = []
        for _ in range(UPDATES):
            start = time.perf_counter()
            self.state, self.totals, _ = self.run(
                self.state, self.totals, self.replays, self.rollouts
            )
            jax.block_until_ready(self.state)
            times.append(time.perf_counter() - start)
        return 1e3 * statistics.median(times[UPDATES // 4 :])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", required=True, help="python of an environment with torch")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=int, nargs="+", default=[32, 64])
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    peer = subprocess.Popen(
        [args.python, str(Path(__file__).with_name("peer_update.py"))],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    ours = {
        (size, precision): Update(size, precision)
        for size in args.batches
        for precision in ("bfloat16", "float32")
    }
    rounds = []
    for _ in range(args.rounds):
        for size in args.batches:
            peer.stdin.write(f"{size}\n")
            peer.stdin.flush()
            found = json.loads(peer.stdout.readline())
            row = {"batch": size, "torch": found["torch"]}
            row |= {f"torch_{name}_ms": found[name] for name in ("adam", "fused")}
            for precision in ("bfloat16", "float32"):
                row[f"{precision}_ms"] = ours[size, precision].milliseconds()
            rounds.append(row)
            print(json.dumps(row), flush=True)
    peer.stdin.close()
    peer.wait()
    ratios = {}
    for size in args.batches:
        mine = [row for row in rounds if row["batch"] == size]
        for name in ("adam", "fused"):
            found = sorted(row["bfloat16_ms"] / row[f"torch_{name}_ms"] for row in mine)
            ratios[f"batch {size}, to {name}"] = {
                "median": statistics.median(found), "range": [found[0], found[-1]],
            }  # fmt: skip
    about = provenance("cpu")
    keep = ("command", "commit", "machine", "cpu_features", "versions")
    result = {"ratios": ratios, "rounds": rounds, "ended": now()}
    result |= {name: about[name] for name in keep}
    print(json.dumps(ratios, indent=2))
    if args.out:
        args.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
