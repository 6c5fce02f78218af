"""What an agent sees while it plays, for the firmware's sensor: record.py zoo:pong/net0.1 pong.bin

For each step one byte, 1 where an episode begins and 0 elsewhere, then the raw frame (uint8) or
observation (float32) in the byte order of this machine: little-endian, as a Cortex-M has it.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from rtpd.agents.runner import EpisodeRunner
from rtpd.agents.sources import one_of, options_of


def record(source, agent, *, steps, skip, seed):
    """Firsts [N] and raw frames [N *F] of `steps` steps of play; `skip` steps are left out before.

    The first of them begins an episode for whoever sees no more.
    """
    _, policy = one_of(source, agent)
    options = replace(options_of(policy), episodic_life=False)
    runner, firsts, frames = EpisodeRunner(policy, options, 1, seed), [], []
    try:
        for step in range(skip + steps):
            if step >= skip:
                firsts.append(step == skip or bool(runner.timestep.first[0]))
                frames.append(np.array(runner.timestep.frame[0]))
            runner.env.send(np.asarray(runner.act(0.05)))
            runner.receive()
    finally:
        runner.env.close()
    return np.array(firsts), np.stack(frames)


def save(path, firsts, frames):
    """Write the file."""
    steps = zip(firsts, frames, strict=True)
    path.write_bytes(b"".join(bytes([int(first)]) + frame.tobytes() for first, frame in steps))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("source", help="as rtpd evaluate takes it")
    parser.add_argument("out", type=Path)
    parser.add_argument("--agent", help="of a run folder")
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--skip", type=int, default=60, help="steps left out before")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    seen = record(args.source, args.agent, steps=args.steps, skip=args.skip, seed=args.seed)
    save(args.out, *seen)
