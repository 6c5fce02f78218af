"""A Gymnasium env of your own: write it, register it, train on it.

    python examples/custom_env.py               # under a minute on 2 CPU cores

rtpd takes any registered env with discrete actions. This file is also a module that registers its
env when it is imported, so the command line can train on it:

    PYTHONPATH=examples rtpd train gym/custom_env:Catch-v0 --teacher dqn --steps 20000
"""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete

import rtpd

ROWS, COLUMNS = 10, 5


class Catch(gymnasium.Env):
    """A ball falls a row a step; move the paddle left, not at all, or right, and be under it.

    Reward 1 for a caught ball and -1 for a lost one, at the end of the nine steps. It is the env
    of the same name of bsuite (Osband et al. 2020, arXiv:1908.03568), with the board as numbers.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 10}

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode
        self.observation_space = Box(0.0, 1.0, (ROWS, COLUMNS), np.float32)
        self.action_space = Discrete(3)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        super().reset(seed=seed)
        self._row, self._ball = 0, int(self.np_random.integers(COLUMNS))
        self._paddle = COLUMNS // 2
        return self._board(), {}

    def step(self, action: int):
        self._row += 1
        self._paddle = min(max(self._paddle + int(action) - 1, 0), COLUMNS - 1)
        over = self._row == ROWS - 1
        reward = (1.0 if self._paddle == self._ball else -1.0) if over else 0.0
        return self._board(), reward, over, False, {}

    def render(self) -> np.ndarray:
        """A picture u8[H W 3], which `rtpd play` shows."""
        grey = (255 * self._board()).astype(np.uint8)
        return np.repeat(np.kron(grey, np.ones((16, 16), np.uint8))[..., None], 3, axis=-1)

    def _board(self) -> np.ndarray:
        board = np.zeros((ROWS, COLUMNS), np.float32)
        board[self._row, self._ball] = board[-1, self._paddle] = 1.0
        return board


gymnasium.register("Catch-v0", Catch)


def settings(steps: int) -> rtpd.Config:
    base = rtpd.load_config("double-dqn")
    return replace(
        base,
        env="gym/Catch-v0",
        students=("mlp8:kl",),
        steps=steps,
        replay=replace(base.replay, capacity=20_000, warmup_steps=1_000),
        exploration=replace(base.exploration, decay_steps=steps // 2),
        evaluation=replace(base.evaluation, period_steps=steps // 4, episodes=20),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=20_000, help="agent steps")
    parser.add_argument("--out", type=Path, default=Path("runs/catch"), help="a new folder")
    args = parser.parse_args()
    summary = rtpd.train(settings(args.steps), out=args.out)
    for name, row in summary["agents"].items():
        mean, error = row["mean"], row["standard_error"]
        print(f"{name}: {row['parameters']:,} parameters, mean return {mean:.2f} ± {error:.2f}")


if __name__ == "__main__":
    main()
