import numpy as np
import pytest

from rtpd.types import Timestep


@pytest.fixture(scope="session")
def play():
    """Play uniformly random actions; returns the rows stacked over time ([T + 1, E, ...]), actions.

    Row 0 is the reset's, and row t + 1 is what action t led to.
    """

    def run(env, steps: int, seed: int = 0) -> tuple[Timestep, np.ndarray]:
        random = np.random.default_rng(seed)
        actions = random.integers(env.spec.num_actions, size=(steps, env.num_envs))
        rows = [env.reset(seed)]
        for action in actions:
            env.send(action)
            rows.append(env.recv())
        return Timestep(*(np.stack(column) for column in zip(*rows, strict=True))), actions

    return run
