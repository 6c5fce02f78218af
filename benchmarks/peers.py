"""rtpd beside the usual PyTorch programs: agent steps/s on Pong, in turns on one machine.

rtpd distils while it trains, the peers only train; same net, batch, update ratio, emulator
settings and plain DQN target. The peers need an environment of their own (see peer_dqn.py):

    python3.11 -m venv peers && peers/bin/pip install torch stable-baselines3 ale-py \
        opencv-python-headless
    python benchmarks/peers.py --python peers/bin/python --rounds 3 \
        --out results/measurements/peers.json
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

RTPD = {
    "rtpd, DQN alone": ["--teacher", "dqn", "--students", "none"],
    "rtpd, DQN and net1.7": ["--teacher", "dqn", "--students", "net1.7:kl"],
    "rtpd, double DQN and net1.7": ["--teacher", "double-dqn", "--students", "net1.7:kl"],
}


def output_of(command):
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout[done.stdout.index("{") :])


def rtpd_rate(flags, seconds):
    command = [sys.executable, "-m", "rtpd", "bench", "pong", "--preset", "double-dqn", *flags]
    result = output_of([*command, "--json", "--rounds", "1", "--seconds", str(seconds)])
    family = list(result["families"])[-1]
    about = {key: result[key] for key in ("commit", "machine", "versions", "matmul_gflops")}
    return result["families"][family]["loop_steps_per_second"], about


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", required=True, help="python of the peers' environment")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3_000, help="agent steps of a peer's turn")
    parser.add_argument("--seconds", type=float, default=20, help="wall time of rtpd's turn")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    peer = [args.python, str(Path(__file__).with_name("peer_dqn.py")), "--steps", str(args.steps)]
    rounds, about = [], {}
    for _ in range(args.rounds):
        rates = {}
        for name in ("cleanrl", "sb3"):
            found = output_of([*peer, name])
            rates[name], about["peers"] = found["steps_per_second"], found["versions"]
        for name, flags in RTPD.items():
            rates[name], about["rtpd"] = rtpd_rate(flags, args.seconds)
        rounds.append(rates)
        print(json.dumps(rates), flush=True)
    ratios = {
        f"{ours} / {theirs}": [r[ours] / r[theirs] for r in rounds]
        for ours in RTPD
        for theirs in ("cleanrl", "sb3")
    }
    result = {
        "steps_per_second": {k: statistics.median(r[k] for r in rounds) for k in rounds[0]},
        "ratio": {name: statistics.median(found) for name, found in ratios.items()},
        "ratios": ratios,
        "rounds": rounds,
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        **about,
    }
    print(json.dumps(result["ratio"], indent=2))
    if args.out:
        args.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
