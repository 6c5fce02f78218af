"""Acting: stacks against plain lists, exploration rates and frequencies."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from rtpd.agents import acting


@pytest.mark.parametrize("size", [1, 2, 4])
@pytest.mark.parametrize(("shape", "dtype"), [((2, 3), np.uint8), ((4,), np.float32)])
def test_stacks_are_the_newest_frames_of_the_episode(size, shape, dtype):
    random, num_envs = np.random.default_rng(0), 3
    empty = np.zeros((size, *shape), dtype)
    # The stacks before the first frame are full of another episode's: `first` must clear them.
    stack = jnp.full((num_envs, size, *shape), 99, dtype)
    episodes = [[] for _ in range(num_envs)]
    for t in range(40):
        frame = random.integers(1, 255, (num_envs, *shape)).astype(dtype)
        first = random.random(num_envs) < 0.2 if t else np.ones(num_envs, bool)
        stack = acting.push(stack, jnp.asarray(frame), jnp.asarray(first))
        for env in range(num_envs):
            episodes[env] = ([] if first[env] else episodes[env]) + [frame[env]]
            expected = np.concatenate([empty, np.stack(episodes[env])])[-size:]
            np.testing.assert_array_equal(stack[env], expected)
    assert stack.dtype == dtype


@pytest.mark.parametrize(
    ("step", "decay_steps", "epsilon"),
    [(0, 100, 1.0), (1, 100, 0.991), (50, 100, 0.55), (100, 100, 0.1), (101, 100, 0.1),
     (10**9, 100, 0.1), (0, 0, 0.1)],
)  # fmt: skip
def test_linear_epsilon(step, decay_steps, epsilon):
    found = acting.linear_epsilon(step, start=1.0, end=0.1, decay_steps=decay_steps)
    assert found == pytest.approx(epsilon)


def test_linear_epsilon_may_rise():
    assert acting.linear_epsilon(25, start=0.0, end=0.4, decay_steps=100) == pytest.approx(0.1)


def actions(epsilon, num_envs=20_000, seed=0):
    """Actions of many envs with the same values, whose best action is 2."""
    q = jnp.tile(jnp.array([0.0, -1.0, 5.0, 4.9]), (num_envs, 1))
    return np.asarray(acting.epsilon_greedy(q, jr.key(seed), jnp.float32(epsilon)))


@pytest.mark.parametrize("seed", range(3))
def test_without_exploration_actions_are_greedy(seed):
    q = jr.normal(jr.key(7), (500, 6))
    chosen = acting.epsilon_greedy(q, jr.key(seed), jnp.float32(0))
    np.testing.assert_array_equal(chosen, np.argmax(q, axis=1))
    assert chosen.dtype == jnp.int32


@pytest.mark.parametrize("epsilon", [0.05, 0.5, 1.0])
def test_the_share_of_each_action(epsilon):
    share = np.bincount(actions(epsilon), minlength=4) / 20_000
    expected = epsilon / 4 + (1 - epsilon) * np.array([0, 0, 1, 0])
    np.testing.assert_allclose(share, expected, atol=0.015)


@pytest.mark.parametrize("epsilon", [0.0, 0.5])
def test_a_policy_is_sampled(epsilon):
    chances = np.array([0.1, 0.6, 0.3])
    logits = jnp.tile(jnp.log(chances) + 7, (20_000, 1))
    sample = jax.jit(acting.sample)
    share = np.bincount(sample(logits, jr.key(0), jnp.float32(epsilon)), minlength=3) / 20_000
    np.testing.assert_allclose(share, epsilon / 3 + (1 - epsilon) * chances, atol=0.015)


def test_the_same_key_gives_the_same_actions():
    np.testing.assert_array_equal(actions(0.5, seed=1), actions(0.5, seed=1))
    assert not np.array_equal(actions(0.5, seed=1), actions(0.5, seed=2))


def test_acting_pushes_the_frame_and_chooses_by_the_new_stack():
    stack = jnp.zeros((2, 3, 2), jnp.float32)
    frame = jnp.array([[1.0, 4.0], [9.0, 2.0]])
    first = jnp.array([True, True])
    stack, chosen, q = jax.jit(acting.act, static_argnums=0)(
        lambda stacks: stacks[:, -1], stack, frame, first, jr.key(0), jnp.float32(0)
    )
    np.testing.assert_array_equal(stack[:, -1], frame)
    assert chosen.tolist() == [1, 0]
    np.testing.assert_array_equal(q, frame)
