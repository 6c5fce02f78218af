"""The replay against lists of dicts; every field carries the id of its row and env."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from ale_py.vector_env import AtariVectorEnv

from rtpd import envs
from rtpd.envs import EnvOptions
from rtpd.envs.common import env_seeds
from rtpd.learning import priorities
from rtpd.learning import replay as ring
from rtpd.learning.replay_shape import ReplayShape

ENVS, ROWS = 3, 24
FRAMES = {"image": ((2, 3), "uint8"), "vector": ((4,), "float32")}
add = jax.jit(ring.add, donate_argnums=0)
seal = jax.jit(ring.seal, donate_argnums=0)
SAMPLED = ("batch_size", "stack", "n_step", "gamma", "clip_reward")
sample = jax.jit(ring.sample, static_argnames=SAMPLED)
draw_prioritised = jax.jit(priorities.draw_prioritised, static_argnums=(2, 3, 4, 5))


class Oracle:
    """All rows ever written, as lists of dicts; the ring holds the newest `ROWS` of them."""

    def __init__(self, kind, seed):
        self.shape, self.dtype = FRAMES[kind]
        self.random = np.random.default_rng(seed)
        self.rows = []
        self.left = [0] * ENVS  # rows to come in the episode under way

    def frame(self, t, env):
        """No pixel is 0, so that an empty place in a stack is told from any frame."""
        ident = t * ENVS + env
        digits = [1 + ident % 200, 1 + ident // 200, 1 + env, 201]
        return np.resize(np.array(digits, self.dtype), self.shape)

    def next_row(self):
        """One row of every env: episodes of 2 to 12 rows that end in either way, and lost lives."""
        t, row = len(self.rows), []
        for env in range(ENVS):
            first = self.left[env] == 0
            if first:
                self.left[env] = int(self.random.integers(2, 13))
            self.left[env] -= 1
            # The step into the last row ends the game, or a time limit does; else a life goes.
            chance = 0.5 if self.left[env] == 1 else 0.1 if self.left[env] else 0.0
            row.append(
                {
                    "frame": self.frame(t, env),
                    "action": 7 * t + env,
                    "reward": np.float32(((5 * t + 3 * env) % 11 - 5) * 0.4),
                    "first": first,
                    "terminal": bool(self.random.random() < chance),
                    "last": self.left[env] == 0,
                }
            )
        self.rows.append(row)
        return {name: np.stack([r[name] for r in row]) for name in row[0]}

    def seal(self):
        for env in range(ENVS):
            self.rows[-1][env]["last"] = True
        self.left = [0] * ENVS

    def stack(self, t, env, size):
        frames = [np.zeros(self.shape, self.dtype)] * size
        for back in range(size):
            frames[size - 1 - back] = self.rows[t - back][env]["frame"]
            if self.rows[t - back][env]["first"]:
                break
        return np.stack(frames)

    def valid(self, stack, n_step):
        """Rows that may be sampled: whole stack in the ring, window before the seam, not `last`."""
        oldest, newest = max(0, len(self.rows) - ROWS), len(self.rows) - 1
        return [
            (t, env)
            for t in range(oldest + stack - 1, newest - n_step + 1)
            for env in range(ENVS)
            if not self.rows[t][env]["last"]
        ]

    def transition(self, t, env, stack, n_step, gamma, clip_reward):
        total, steps, over = 0.0, 0, False
        while steps < n_step and not over and not self.rows[t + steps][env]["last"]:
            row = self.rows[t + steps][env]
            reward = float(row["reward"])
            total += gamma**steps * (max(-1.0, min(1.0, reward)) if clip_reward else reward)
            over = row["terminal"]
            steps += 1
        return {
            "obs": self.stack(t, env, stack),
            "action": self.rows[t][env]["action"],
            "reward": total,
            "discount": 0.0 if over else gamma**steps,
            "next_obs": self.stack(t + steps, env, stack),
        }


def check(oracle, replay, draws, sampler, stack, n_step, gamma, clip_reward):
    """Every sample is the oracle's transition of that id, and all valid ids come equally often."""
    valid = oracle.valid(stack, n_step)
    expected = [oracle.transition(*at, stack, n_step, gamma, clip_reward) for at in valid]
    batch = jax.device_get(sampler(replay, jr.key(len(oracle.rows))))
    place = {(7 * t + env): i for i, (t, env) in enumerate(valid)}
    index = np.array([place[int(action)] for action in batch.action])  # KeyError: not valid
    for name in ("obs", "action", "next_obs"):
        whole = np.stack([e[name] for e in expected])
        np.testing.assert_array_equal(getattr(batch, name), whole[index], err_msg=name)
    for name in ("reward", "discount"):
        whole = np.array([e[name] for e in expected])
        np.testing.assert_allclose(getattr(batch, name), whole[index], rtol=1e-5, atol=1e-6)
    counts = np.bincount(index, minlength=len(valid))
    mean = draws / len(valid)
    assert counts.min() > 0, "a valid row is never sampled"
    spread = float(np.sum((counts - mean) ** 2) / mean)  # chi-square, len(valid) - 1 degrees
    assert spread < len(valid) + 6 * np.sqrt(2 * len(valid)) + 6, counts


@pytest.mark.parametrize("kind", FRAMES)
@pytest.mark.parametrize(
    ("stack", "n_step", "gamma", "clip_reward"),
    [(4, 1, 0.99, True), (4, 3, 0.9, False), (4, 5, 0.7, True), (1, 1, 0.9, False),
     (1, 3, 0.8, True), (1, 5, 0.95, False), (2, 4, 1.0, False)],
)  # fmt: skip
def test_samples_are_the_oracles(kind, stack, n_step, gamma, clip_reward):
    draws = 4096

    @jax.jit
    def sampler(replay, key):
        return ring.sample(
            replay, key, batch_size=draws, stack=stack, n_step=n_step, gamma=gamma,
            clip_reward=clip_reward,
        )  # fmt: skip

    oracle = Oracle(kind, seed=10 * stack + n_step)
    replay = ring.init(ReplayShape(ROWS, ENVS, *FRAMES[kind]))
    least = n_step + stack
    stops = {least, least + 1, 17, ROWS - 1, ROWS, ROWS + 1, 2 * ROWS - 1, 2 * ROWS, 61, 73, 85}
    seals = {13, 16, ROWS, 40, 60, 70, 84}
    for t in range(1, max(stops) + 1):
        replay = add(replay, **oracle.next_row())
        if t in seals:
            oracle.seal()
            replay = seal(replay)
        if t in stops and oracle.valid(stack, n_step):
            check(oracle, replay, draws, sampler, stack, n_step, gamma, clip_reward)
    assert int(replay.filled) == ROWS and int(replay.cursor) == 85 % ROWS


def test_the_oracles_episodes_hold_every_case():
    oracle = Oracle("image", seed=43)
    rows = [row for _ in range(85) for row in [oracle.next_row()]]
    flags = {name: np.stack([r[name] for r in rows]) for name in ("terminal", "last", "first")}
    ends = flags["last"][1:]
    assert (flags["terminal"][:-1] & ends).any(), "a game over"
    assert (~flags["terminal"][:-1] & ends).any(), "a time limit"
    assert (flags["terminal"][:-1] & ~ends).any(), "a lost life"
    np.testing.assert_array_equal(flags["first"][1:], flags["last"][:-1])


def numbered(rows, n_step, sealed_after=None, total=16, stack=2):
    """Sampled (row, steps to the bootstrap frame, discount) of an endless episode of 1 env."""
    replay = ring.init(ReplayShape(rows, 1, (1,), "float32"))
    for t in range(total):
        first = np.array([t in (0, sealed_after)])
        replay = add(
            replay, np.array([[t]], np.float32), np.array([t]), np.ones(1, np.float32), first,
            np.zeros(1, bool), np.zeros(1, bool),
        )  # fmt: skip
        if t + 1 == sealed_after:
            replay = seal(replay)
    batch = sample(
        replay, jr.key(0), batch_size=2048, stack=stack, n_step=n_step, gamma=0.5, clip_reward=True
    )
    steps = batch.next_obs[:, -1, 0] - batch.obs[:, -1, 0]
    return set(zip(batch.action.tolist(), steps.tolist(), batch.discount.tolist(), strict=True))


def test_no_window_crosses_the_write_seam():
    assert numbered(rows=8, n_step=3) == {(t, 3, 0.125) for t in (9, 10, 11, 12)}


def test_no_window_crosses_a_seal():
    # Row 11 is sealed: it is not sampled, and windows that reach it bootstrap from its frame.
    expected = {(9, 2, 0.25), (10, 1, 0.5), (12, 3, 0.125)}
    assert numbered(rows=8, n_step=3, sealed_after=12) == expected


def test_sealing_an_empty_ring_changes_nothing():
    empty = ring.init(ReplayShape(3, 2, (2,), "float32"))
    jax.tree.map(np.testing.assert_array_equal, ring.seal(empty), empty)


def test_sealing_marks_the_newest_row_alone():
    replay = ring.init(ReplayShape(4, 2, (1,), "float32"))
    no, noop, zeros = np.zeros(2, bool), np.zeros(2, np.int32), np.zeros(2, np.float32)
    for newest in (0, 1, 2, 3, 0):  # round the ring
        replay = add(replay, np.zeros((2, 1)), noop, zeros, no, no, no)
        assert np.flatnonzero(ring.seal(replay).last.all(axis=1)).tolist() == [newest]
        assert ring.seal(replay).last.sum() == 2


def test_sampling_depends_on_the_key_alone():
    oracle, replay = Oracle("image", seed=1), ring.init(ReplayShape(ROWS, ENVS, *FRAMES["image"]))
    for _ in range(ROWS):
        replay = add(replay, **oracle.next_row())

    def draw(seed):
        settings = {"stack": 4, "n_step": 1, "gamma": 0.9, "clip_reward": True}
        return sample(replay, jr.key(seed), batch_size=64, **settings)

    jax.tree.map(np.testing.assert_array_equal, draw(0), draw(0))
    assert not np.array_equal(draw(0).action, draw(1).action)


@pytest.mark.parametrize("kind", FRAMES)
@pytest.mark.parametrize("written", [1, 5, ROWS, ROWS + 7])
def test_frame_statistics_are_those_of_the_rows_in_the_ring(kind, written):
    oracle, replay = Oracle(kind, seed=2), ring.init(ReplayShape(ROWS, ENVS, *FRAMES[kind]))
    for _ in range(written):
        replay = add(replay, **oracle.next_row())
    held = np.stack([[r["frame"] for r in row] for row in oracle.rows[-ROWS:]]).astype(np.float64)
    mean, deviation = ring.frame_statistics(replay)
    np.testing.assert_allclose(mean, held.mean(axis=(0, 1)), rtol=1e-5)
    varies = held.var(axis=(0, 1))
    if held.ndim == 4:  # images: around each pixel's own mean, averaged over pixels
        varies = varies.mean()
    np.testing.assert_allclose(deviation, np.sqrt(np.where(varies > 0, varies, 1)), rtol=1e-3)


def test_frame_statistics_of_a_long_bright_warm_up():
    """Squares of bright pixels add up to more than float32 counts one by one."""
    rows = 20_000
    frames = np.full((rows, 1, 1, 5), 235, np.uint8)
    frames[::2, ..., 0] = 225  # one pixel in five moves by 5 either way
    replay = ring.init(ReplayShape(rows, 1, (1, 5), "uint8"))._replace(
        frames=jnp.asarray(frames), filled=jnp.int32(rows)
    )
    mean, deviation = ring.frame_statistics(replay)
    np.testing.assert_allclose(mean, [[230, 235, 235, 235, 235]], rtol=1e-5)
    assert float(deviation) == pytest.approx(np.sqrt(5), rel=0.02)


def test_each_feature_of_a_vector_has_a_deviation_of_its_own():
    rows = 5_000
    rng = np.random.default_rng(0)
    frames = np.zeros((rows, 1, 6), np.float32)
    frames[:, 0, 0] = rng.uniform(0, 1e5, rows)
    frames[:, 0, 1] = rng.integers(2, size=rows)
    frames[:, 0, 2] = 1e6 + rng.integers(2, size=rows)  # a small change of a large number
    frames[:, 0, 3] = 1e6 + 0.3  # never moves
    frames[7, 0, 4] = 1  # seldom seen
    frames[:, 0, 5] = rng.uniform(-1e30, 1e30, rows)  # its square leaves float32
    replay = ring.init(ReplayShape(rows, 1, (6,), "float32"))._replace(
        frames=jnp.asarray(frames), filled=jnp.int32(rows)
    )
    mean, deviation = ring.frame_statistics(replay)
    held = frames[:, 0].astype(np.float64)
    np.testing.assert_allclose(mean[:5], held.mean(axis=0)[:5], rtol=1e-4)
    expected = held.std(axis=0)
    expected[3:5] = 1, 0.1 * (1 - 1 / rows)
    np.testing.assert_allclose(deviation, expected, rtol=1e-3)


def test_frames_that_do_not_vary_have_a_deviation_that_can_be_divided_by():
    for value in (0.0, 0.1, 235.0):
        replay = ring.init(ReplayShape(7, 2, (3,), "float32"))
        replay = replay._replace(frames=replay.frames + value, filled=jnp.int32(7))
        mean, deviation = ring.frame_statistics(replay)
        np.testing.assert_allclose(mean, np.full(3, value), rtol=1e-6)
        np.testing.assert_array_equal(deviation, np.ones(3))


@pytest.mark.parametrize(
    ("rows", "num_envs", "shape", "dtype", "expected"),
    [
        # per transition: the frame, 4 + 4 for action and reward, 3 flags; 8 for the counters
        (10, 2, (84, 84), "uint8", 10 * 2 * (7056 + 11) + 8),
        (5, 3, (4,), "float32", 5 * 3 * (16 + 11) + 8),
    ],
)
def test_num_bytes_is_what_init_takes(rows, num_envs, shape, dtype, expected):
    column = 4 * rows * num_envs
    for kept, more in (
        ({}, 0),
        ({"prioritised": True}, column),
        ({"prioritised": True, "answers": 6}, 7 * column),
    ):
        replay = ring.init(ReplayShape(rows, num_envs, shape, dtype, **kept))
        assert sum(leaf.nbytes for leaf in jax.tree.leaves(replay)) == expected + more
        assert ReplayShape(rows, num_envs, shape, dtype, **kept).num_bytes == expected + more


def test_num_bytes_allots_nothing():
    assert ReplayShape(10**7, 8, (84, 84), "uint8").num_bytes > 5 * 10**11


def test_a_donated_ring_stays_where_it_is():
    oracle, replay = Oracle("image", seed=3), ring.init(ReplayShape(ROWS, ENVS, *FRAMES["image"]))
    big = replay._fields.index("cursor")  # the counters are scalars; the rest must not be copied
    places = [leaf.unsafe_buffer_pointer() for leaf in replay[:big]]
    for _ in range(ROWS + 2):
        old, replay = replay, add(replay, **oracle.next_row())
        assert old.frames.is_deleted()
    assert [leaf.unsafe_buffer_pointer() for leaf in replay[:big]] == places
    assert replay.frames.dtype == jnp.uint8


@pytest.mark.parametrize("episodic_life", [False, True])
@pytest.mark.parametrize(("game", "max_frames"), [("pong", 200), ("breakout", 280)])
def test_atari_stacks_are_those_of_ale_py(game, max_frames, episodic_life):
    options = EnvOptions(max_episode_frames=max_frames, episodic_life=episodic_life)
    env = envs.make(game, 2, options)
    native = AtariVectorEnv(
        game, 2, noop_max=31, reward_clipping=False, max_num_frames_per_episode=max_frames
    )
    steps, capacity = 300, 200  # the ring wraps
    actions = np.random.default_rng(4).integers(env.spec.num_actions, size=(steps, 2))
    replay = ring.init(ReplayShape(capacity, 2, env.spec.frame_shape, env.spec.frame_dtype))
    seen, stacks = env.reset(0), [native.reset(seed=env_seeds(0, 2))[0]]
    told = []  # what came of each step: reward, terminal
    ended = 0
    for t, action in enumerate(actions):
        env.send(action)
        next_ = env.recv()
        ident = np.array([2 * t, 2 * t + 1])  # in the place of the action
        replay = add(replay, seen.frame, ident, next_.reward, seen.first, next_.terminal, seen.last)
        stacks.append(native.step(action)[0])
        told.append((next_.reward, next_.terminal))
        ended += seen.last.sum()
        seen = next_
    env.close()
    assert ended >= 4
    stacks = np.stack(stacks)
    reward, terminal = (np.stack(column) for column in zip(*told, strict=True))
    if game == "breakout":
        assert terminal.any() == episodic_life  # lives are lost before the time is up
    batch = sample(
        replay, jr.key(5), batch_size=512, stack=4, n_step=1, gamma=0.5, clip_reward=False
    )
    t, e = np.divmod(np.asarray(batch.action), 2)
    assert t.min() >= steps - capacity + 3 and len(set(batch.action.tolist())) > 200
    np.testing.assert_array_equal(batch.obs, stacks[t, e])
    np.testing.assert_array_equal(batch.next_obs, stacks[t + 1, e])
    np.testing.assert_array_equal(batch.reward, reward[t, e])
    np.testing.assert_array_equal(batch.discount, np.where(terminal[t, e], 0, 0.5))


def prioritised_ring(rows=12, num_envs=3, filled=9, cursor=5, seed=0):
    """A ring with random priorities, some of them 0, and some rows `last`."""
    random = np.random.default_rng(seed)
    empty = ring.init(ReplayShape(rows, num_envs, (1,), "float32", prioritised=True))
    return empty._replace(
        priority=jnp.asarray(random.choice([0, 0.1, 1, 4, 9], (rows, num_envs)), jnp.float32),
        last=jnp.asarray(random.random((rows, num_envs)) < 0.2),
        cursor=jnp.int32(cursor),
        filled=jnp.int32(filled),
    )


@pytest.mark.parametrize("exponent", [0.5, 1.0])
@pytest.mark.parametrize(("filled", "cursor"), [(9, 9), (12, 5), (12, 0)])
def test_prioritised_draws_are_proportional_to_priority(filled, cursor, exponent):
    """One draw per equal part of the total, so only the parts at a row's two ends are chance."""
    replay, stack, n_step, size = prioritised_ring(filled=filled, cursor=cursor), 2, 3, 4096
    weight = np.zeros((12, 3))
    for age in range(stack - 1, filled - n_step):
        row = (cursor - filled + age) % 12
        weight[row] = np.asarray(replay.priority)[row] ** exponent * ~np.asarray(replay.last)[row]
    row, env, likelier = draw_prioritised(replay, jr.key(1), size, stack, n_step, exponent)
    drawn = np.zeros((12, 3))
    np.add.at(drawn, (np.asarray(row), np.asarray(env)), 1)
    np.testing.assert_allclose(drawn, size * weight / weight.sum(), atol=2)
    uniform = 1 / np.count_nonzero(weight)
    expected = weight[row, env] / weight.sum() / uniform
    np.testing.assert_allclose(likelier, expected, rtol=1e-5)


def test_equal_priorities_draw_from_the_rows_that_a_uniform_draw_takes():
    replay = prioritised_ring(filled=12)
    replay = replay._replace(priority=jnp.ones((12, 3)))
    row, env = ring.draw(replay, jr.key(0), 2000, 2, 3)
    uniform = set(zip(row.tolist(), env.tolist(), strict=True))
    row, env, likelier = draw_prioritised(replay, jr.key(0), 2000, 2, 3, 0.5)
    assert set(zip(row.tolist(), env.tolist(), strict=True)) == uniform
    np.testing.assert_allclose(likelier, 1, rtol=1e-5)


def test_a_new_row_has_the_highest_priority_and_what_was_learnt_its_surprise():
    replay = ring.init(ReplayShape(4, 2, (1,), "float32", prioritised=True))
    no, noop, zero = jnp.zeros(2, bool), jnp.zeros(2, jnp.int32), jnp.zeros(2)
    frame = jnp.zeros((2, 1))
    replay = ring.add(replay, frame, noop, zero, no, no, no)
    assert replay.priority.tolist() == [[1, 1], [0, 0], [0, 0], [0, 0]]
    found = priorities.updated_priorities(
        replay.priority, jnp.array([0]), jnp.array([1]), jnp.array([5.0])
    )
    replay = ring.add(replay._replace(priority=found), frame, noop, zero, no, no, no)
    np.testing.assert_allclose(replay.priority, [[1, 5], [5, 5], [0, 0], [0, 0]], rtol=1e-5)
    still_seen = priorities.updated_priorities(
        found, jnp.array([0]), jnp.array([0]), jnp.array([0.0])
    )
    assert still_seen[0, 0] > 0
