"""What `types.VectorEnv` and `types.Timestep` promise, of one environment of each family."""

import numpy as np
import pytest

from rtpd import envs
from rtpd.envs import EnvOptions
from rtpd.errors import EnvError, RtpdError

# Each ends several episodes within 60 steps, some of them by truncation.
NAMES = ("ale/breakout", "gym/CartPole-v1", "probe/chain", "probe/endless", "probe/pixels")
OPTIONS = EnvOptions(max_episode_frames=100, episodic_life=True)


@pytest.fixture(params=NAMES, scope="module")
def env(request):
    env = envs.make(request.param, 2, OPTIONS)
    yield env
    env.close()


def test_rows_have_the_promised_shapes_and_types(env, play):
    rows, _ = play(env, 3)
    assert rows.frame.shape == (4, 2, *env.spec.frame_shape)
    assert rows.frame.dtype == env.spec.frame_dtype
    assert rows.reward.dtype == np.float32
    for flag in rows[2:]:
        assert flag.dtype == bool and flag.shape == (4, 2)
    assert len(env.spec.action_meanings) == env.spec.num_actions


def test_episodes_begin_and_end_where_the_flags_say(env, play):
    rows, _ = play(env, 130)
    assert rows.first[0].all() and not rows.last[0].any()
    np.testing.assert_array_equal(rows.first[1:], rows.last[:-1])
    assert rows.first[1:].sum() >= 4
    assert not rows.reward[rows.first].any()
    assert not (rows.terminal | rows.truncated | rows.last)[rows.first].any()
    assert not (rows.terminal & rows.truncated).any()
    assert (rows.last | ~rows.truncated).all()
    assert (rows.terminal | rows.truncated)[rows.last].all()


def test_the_action_after_the_last_row_is_ignored(env, play):
    rows, actions = play(env, 130)
    t = int(np.flatnonzero(rows.last[:-1, 0])[0])
    frames = []
    for action in (0, env.spec.num_actions - 1):
        env.reset(0)
        for before in actions[:t]:
            env.send(before)
            env.recv()
        env.send(np.array([action, actions[t, 1]]))
        frames.append(env.recv().frame[0])
    np.testing.assert_array_equal(frames, [rows.frame[t + 1, 0]] * 2)


def test_a_seed_decides_everything_even_after_play(env, play):
    steps = 40
    one, _ = play(env, steps, seed=3)
    env.send(np.zeros(2, int))  # a reset must not be confused by a step under way
    again, _ = play(env, steps, seed=3)
    fresh, _ = play(envs.make(env.spec.name, 2, OPTIONS), steps, seed=3)
    for a, b, c in zip(one, again, fresh, strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a, c)


def test_rows_belong_to_the_receiver(env):
    row = env.reset(0)
    kept = [column.copy() for column in row]
    for _ in range(3):
        env.send(np.zeros(2, int))
        scribbled = env.recv()
        for column in scribbled:
            column[...] = 1  # must reach neither the env nor the row kept
    for column, copy in zip(row, kept, strict=True):
        np.testing.assert_array_equal(column, copy)
    env.send(np.zeros(2, int))
    assert not env.recv().first.any()  # the scribbled `last` was not the env's own


@pytest.mark.parametrize("bad", [[0, 99], [-1, 0], [0], [0, 0, 0], [0.0, 1.0]])
def test_actions_that_do_not_fit_are_refused(env, bad):
    env.reset(0)
    with pytest.raises(EnvError, match="do not fit 2 envs"):
        env.send(np.array(bad))


def test_recv_without_send_is_refused(env):
    env.reset(0)
    with pytest.raises(RtpdError, match="recv without send"):
        env.recv()


@pytest.mark.parametrize("name", NAMES)
def test_closing_twice_is_harmless(name):
    env = envs.make(name, 1, OPTIONS)
    env.close()
    env.close()


@pytest.mark.parametrize("name", ["ale/space_invaders", "gym/CartPole-v1", "probe/match"])
def test_seeds_differ_between_runs_and_between_envs(name):
    env = envs.make(name, 4, OPTIONS)
    starts = [env.reset(seed).frame for seed in (0, 1)]
    assert not np.array_equal(*starts)
    assert not np.array_equal(starts[0][:3], starts[0][1:])
