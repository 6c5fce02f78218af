"""A teacher of another program, a small student of it, and an ONNX file that plays elsewhere.

    python examples/bring_your_own_teacher.py tests/data/sb3-cartpole-ppo.zip gym/CartPole-v1
    python examples/bring_your_own_teacher.py dqn.zip pong --student net1.7

The file, also a .cleanrl_model or an .onnx, is read without PyTorch, and nothing in it is executed.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import rtpd
from rtpd.export import export


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("teacher", help="what model.save() of Stable-Baselines3 has written")
    parser.add_argument("env", help="the game it was trained on")
    parser.add_argument("--student", default="mlp8", help="net1.7 and its like for Atari")
    parser.add_argument("--steps", type=int, default=20_000, help="agent steps")
    parser.add_argument("--out", type=Path, default=Path("runs/my-teacher"), help="a new folder")
    args = parser.parse_args()

    settings = replace(
        rtpd.load_config("distill"),
        env=args.env,
        students=(f"{args.student}:kl",),
        steps=args.steps,
    )
    summary = rtpd.distill(args.teacher, settings, out=args.out)
    for name, row in summary["agents"].items():
        print(f"{name}: {row['parameters']:,} parameters")

    found = rtpd.evaluate(args.out, episodes=20)
    for name, row in found["agents"].items():
        print(f"{name}: mean return {row['mean']:.1f} ± {row['standard_error']:.1f}")

    written = export(args.out, args.student, out=args.out / f"{args.student}.onnx")
    same = 100 * written["agreement_or_tied"]
    print(f"{written['file']}: {written['bytes']:,} bytes, the same greedy action on {same:.0f} %")


if __name__ == "__main__":
    main()
