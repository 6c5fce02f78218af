"""CartPole in Python: train a teacher and two students at once, load one of them, let it act.

    python examples/cartpole.py                 # half a minute on 2 CPU cores
    python examples/cartpole.py --steps 60000 --out runs/longer

A teacher with a replay suits a game this small. After 30,000 steps it balances the pole for some
hundreds of the 500 steps that an episode can have, and its students of 114 and 30 parameters with
it. How many it is depends on the seed, and more steps are not always better: DQN sways here.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import gymnasium
import jax.numpy as jnp
import numpy as np

import rtpd
from rtpd.config.settings import OptimizerConfig


def settings(steps: int) -> rtpd.Config:
    """The preset `double-dqn`, made for Atari, with what a game of four numbers needs less of."""
    base = rtpd.load_config("double-dqn")
    return replace(
        base,
        env="gym/CartPole-v1",
        students=("mlp16:kl", "mlp4:kl"),
        steps=steps,
        replay=replace(base.replay, capacity=50_000, warmup_steps=1_000),
        teacher=replace(
            base.teacher,
            optimizer=OptimizerConfig(learning_rate=1e-3, anneal=0.5),
            target_period_updates=200,
        ),
        student=replace(base.student, ema_decay=0.99),
        evaluation=replace(base.evaluation, period_steps=steps // 3, episodes=10),
    )


def play(policy: rtpd.Policy, seed: int) -> float:
    """The return of one episode, with Gymnasium alone around the policy."""
    env = gymnasium.make("CartPole-v1")
    observation, _ = env.reset(seed=seed)
    total, over = 0.0, False
    while not over:
        stack = jnp.asarray(observation)[None]  # [K D]: a stack of one frame of four numbers
        action = int(np.argmax(policy(stack)))
        observation, reward, terminated, truncated, _ = env.step(action)
        total, over = total + float(reward), terminated or truncated
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=30_000, help="agent steps")
    parser.add_argument("--out", type=Path, default=Path("runs/cartpole"), help="a new folder")
    args = parser.parse_args()

    summary = rtpd.train(settings(args.steps), out=args.out)
    for name, row in summary["agents"].items():
        mean, error = row["mean"], row["standard_error"]
        print(f"{name}: {row['parameters']:,} parameters, mean return {mean:.1f} ± {error:.1f}")

    student = rtpd.load_policy(args.out, "mlp4")
    print(f"mlp4, one episode without any chance: {play(student, seed=0):.0f} steps")


if __name__ == "__main__":
    main()
