import numpy as np
import pytest

from rtpd import envs
from rtpd.envs import EnvOptions
from rtpd.envs.probe import PROBES, known_q
from rtpd.errors import EnvError

# By hand, for gamma = 0.5.
TABLES = {
    "one": [[1, 1]],
    "arms": [[0, 1, -1]],
    "match": [[1, -1], [-1, 1]],
    "swap": [[-1, 1, 0], [0, -1, 1]],
    "delay": [[0.5, 0.25], [0.5, 0.5], [1, 1]],
    "chain": [[1 / 32, 1 / 16], [1 / 32, 1 / 8], [1 / 16, 1 / 4], [1 / 8, 1 / 2], [1 / 4, 1]],
    "endless": [[2, 2]],
    "pixels": [[1 / 16, 1 / 8], [1 / 16, 1 / 4], [1 / 8, 1 / 2], [1 / 4, 1]],
}


def test_every_probe_has_a_table():
    assert set(TABLES) == set(PROBES)


@pytest.mark.parametrize("name", PROBES)
def test_known_q_is_the_table_by_hand(name):
    q = known_q(name, 0.5)
    assert q.dtype == np.float32
    np.testing.assert_allclose(q, TABLES[name], atol=1e-6)


def test_discount_decides_the_delayed_choice_and_the_endless_value():
    assert known_q("delay", 0.9)[0].argmax() == 1
    assert known_q("delay", 0.6)[0].argmax() == 0
    np.testing.assert_allclose(known_q("endless", 0.99), 100, rtol=1e-5)
    with pytest.raises(EnvError, match="gamma is 1"):
        known_q("endless", 1)


@pytest.mark.parametrize("name", PROBES)
def test_q_learning_on_the_rows_finds_known_q(name, play):
    """The flags mean what they say: skip resets, stop at terminal, bootstrap where truncated."""
    env = envs.make(f"probe/{name}", 8, EnvOptions())
    rows, actions = play(env, 500)
    seen = PROBES[name].frames
    same = (rows.frame[:, :, None] == seen).reshape(*rows.first.shape, len(seen), -1).all(-1)
    assert (same.sum(-1) == 1).all()  # every frame is that of one state
    state = same.argmax(-1)
    q = np.zeros((len(seen), env.spec.num_actions))
    for t, action in enumerate(actions):
        row = {name: column[t + 1] for name, column in rows._asdict().items() if name != "frame"}
        target = row["reward"] + 0.8 * ~row["terminal"] * q[state[t + 1]].max(-1)
        go = ~row["first"]
        q[state[t][go], action[go]] = target[go]  # deterministic: a learning rate of 1 will do
    np.testing.assert_allclose(q, known_q(name, 0.8), atol=1e-4)


def test_start_states_are_drawn_evenly():
    env = envs.make("probe/match", 1000, EnvOptions())
    assert 0.4 < env.reset(0).frame[:, 0].mean() < 0.6


def test_endless_is_truncated_every_ten_steps(play):
    rows, _ = play(envs.make("probe/endless", 1, EnvOptions()), 33)
    assert np.flatnonzero(rows.truncated).tolist() == [10, 21, 32]  # ten steps and a reset
    assert not rows.terminal.any()


def test_pixels_are_images_for_convolutional_nets():
    spec = envs.make("probe/pixels", 1, EnvOptions()).spec
    assert spec.is_image
    assert (spec.frame_shape, spec.frame_dtype, spec.stack) == ((84, 84), "uint8", 4)
