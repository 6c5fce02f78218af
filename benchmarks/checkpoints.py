"""How long a checkpoint stalls a training, and what it writes: `python benchmarks/checkpoints.py`.

Frames of real Pong play fill a replay. Then a first checkpoint is written; one after as many new
rows as come between two checkpoints; and, to compare, that same one without one before it.
"""

import argparse
import json
import shutil
import tempfile
import time
from pathlib import Path

import jax
import numpy as np

from rtpd import envs
from rtpd.learning import replay as ring
from rtpd.learning.replay_shape import ReplayShape
from rtpd.storage import checkpoint
from rtpd.storage.provenance import now, provenance
from rtpd.system.memory import peak_bytes

ENVS = 8


def play(steps):
    """Frames u8[steps 8 84 84] of random play."""
    env = envs.make("pong", ENVS, envs.EnvOptions())
    random, frames = np.random.default_rng(0), []
    frames.append(env.reset(0).frame)
    while len(frames) < steps:
        env.send(random.integers(0, env.spec.num_actions, ENVS))
        frames.append(env.recv().frame.copy())
    env.close()
    return np.stack(frames)


def fill(replay, frames, rows):
    """Add so many rows, going round the frames that there are."""
    add = jax.jit(ring.add, donate_argnums=0)
    no, zero = np.zeros(ENVS, bool), np.zeros(ENVS)
    for i in range(rows):
        # Shifted each time round, so that no two segments are alike.
        frame = np.roll(frames[i % len(frames)], i // len(frames), axis=-1)
        replay = add(replay, frame, zero.astype(int), zero, no, no, no)
    return jax.block_until_ready(replay)


def timed(folder, replay):
    """Seconds of a checkpoint, and the bytes that it added to the disk."""
    began = time.monotonic()
    checkpoint.save(folder, {"replay": replay}, {})
    seconds = time.monotonic() - began
    files = [file.stat() for file in folder.iterdir()]
    return {
        "seconds": round(seconds, 2),
        "written_mb": round(sum(f.st_size for f in files if f.st_nlink == 1) / 1e6, 1),
        "size_mb": round(sum(f.st_size for f in files) / 1e6, 1),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--capacity", type=int, default=150_000, help="transitions of the replay")
    parser.add_argument("--new", type=int, default=15_000, help="those between two checkpoints")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    args = parser.parse_args()
    frames = play(1_000)
    replay = ring.init(ReplayShape(args.capacity // ENVS, ENVS, frames.shape[2:], "uint8"))
    replay = fill(replay, frames, args.capacity // ENVS)
    found = {"capacity": args.capacity, "new": args.new}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        found["first"] = timed(path / "1", replay)
        replay = fill(replay, frames[::-1], args.new // ENVS)
        found["next"] = timed(path / "2", replay)
        began = time.monotonic()
        replay, _ = checkpoint.load(path / "2", {"replay": replay})
        jax.block_until_ready(replay)
        found["load_seconds"] = round(time.monotonic() - began, 2)
        shutil.rmtree(path / "1")
        shutil.rmtree(path / "2")
        found["next_without_links"] = timed(path / "2", replay["replay"])
    about = provenance("cpu")
    keep = ("command", "commit", "machine", "python", "versions")
    found |= {"peak_gb": round(peak_bytes() / 1e9, 2), "ended": now()}
    found |= {name: about[name] for name in keep}
    print(json.dumps({k: v for k, v in found.items() if k != "versions"}, indent=2))
    if args.out:
        args.out.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
