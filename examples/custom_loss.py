"""A distillation loss of your own, beside `kl` and `mse`, on one CartPole teacher.

    python examples/custom_loss.py              # half a minute on 2 CPU cores

The loss compares advantages: Q-values less their mean over actions. What all actions have in common
says nothing about which to choose, and a small student need not spend its weights on it.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import jax.numpy as jnp

import rtpd
from rtpd.learning.distillation import LOSSES, DistillationLoss


def advantage(student_q, teacher_q, temperature):
    """Mean over actions of the squared difference of advantages, of one example; f32[A] each."""
    del temperature
    difference = student_q - teacher_q
    return jnp.mean(jnp.square(difference - jnp.mean(difference)))


LOSSES["advantage"] = DistillationLoss(advantage, needs_q=True)


def settings(steps: int) -> rtpd.Config:
    base = rtpd.load_config("double-dqn")
    return replace(
        base,
        env="gym/CartPole-v1",
        students=("mlp8:kl", "mlp8:mse", "mlp8:advantage"),
        steps=steps,
        replay=replace(base.replay, capacity=50_000, warmup_steps=1_000),
        evaluation=replace(base.evaluation, period_steps=0),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=30_000, help="agent steps")
    parser.add_argument("--out", type=Path, default=Path("runs/losses-cartpole"), help="new folder")
    args = parser.parse_args()
    summary = rtpd.train(settings(args.steps), out=args.out)
    for name, row in summary["agents"].items():
        mean, error = row["mean"], row["standard_error"]
        print(f"{name}: {row['parameters']:,} parameters, mean return {mean:.1f} ± {error:.1f}")


if __name__ == "__main__":
    main()
