import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete

from rtpd import envs
from rtpd.envs import EnvOptions
from rtpd.envs.common import env_seeds
from rtpd.errors import EnvError

RED = 76  # luminance of (255, 0, 0)


class Fixed(gymnasium.Env):
    """Shows one observation, pays the action it was given, and ends as told."""

    def __init__(self, space, obs, terminal_after=None):
        self.observation_space, self.obs, self.terminal_after = space, obs, terminal_after
        self.action_space = Discrete(3, start=5)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self.obs, {}

    def step(self, action):
        self.steps += 1
        return self.obs, float(action), self.steps == self.terminal_after, False, {}


def picture(*shape, value=0):
    return {
        "space": Box(0, 255, shape, np.uint8),
        "obs": np.full(shape, value, np.uint8),
    }


HALF_RED = picture(42, 100, 3)
HALF_RED["obs"][:, :50, 0] = 255
CASES = {
    "HalfRed": HALF_RED,
    "Grey": picture(84, 84, value=9),
    "GreyOne": picture(168, 84, 1, value=9),
    "Matrix": {"space": Box(-9, 9, (2, 3), np.float64), "obs": np.arange(6.0).reshape(2, 3)},
    "Ram": {"space": Box(0, 255, (4,), np.uint8), "obs": np.arange(4, dtype=np.uint8)},
    "Count": {"space": Discrete(4, start=2), "obs": 3},
    "Both": {"space": Discrete(2), "obs": 0, "terminal_after": 4},
    "Four": picture(84, 84, 4),
    "Dict": {"space": Dict({"a": Discrete(2)}), "obs": {"a": 0}},
}
for name, kwargs in CASES.items():
    gymnasium.register(
        f"Rtpd{name}-v0", Fixed, kwargs=kwargs, max_episode_steps=4, disable_env_checker=True
    )


def make(name, num_envs=2):
    return envs.make(f"gym/{name}", num_envs, EnvOptions())


def test_cartpole_is_gymnasiums_own(play):
    env = make("CartPole-v1")
    rows, actions = play(env, 60)
    assert (env.spec.frame_shape, env.spec.frame_dtype, env.spec.stack) == ((4,), "float32", 1)
    single = gymnasium.make("CartPole-v1")
    obs, _ = single.reset(seed=int(env_seeds(0, 2)[0]))
    over = False
    for t, action in enumerate(actions[:, 0], start=1):
        np.testing.assert_array_equal(rows.frame[t - 1, 0], obs)
        if over:
            (obs, _), reward, over = single.reset(), 0, False
        else:
            obs, reward, over, _, _ = single.step(action)
        assert (rows.reward[t, 0], rows.terminal[t, 0]) == (reward, over)
    assert rows.terminal[:, 0].sum() >= 2
    np.testing.assert_array_equal(rows.last, rows.terminal)


def test_time_limits_truncate_and_terminal_wins(play):
    rows, _ = play(make("RtpdCount-v0"), 10)
    assert np.flatnonzero(rows.truncated[:, 0]).tolist() == [4, 9]
    assert not rows.terminal.any()
    rows, _ = play(make("RtpdBoth-v0"), 10)
    assert np.flatnonzero(rows.terminal[:, 0]).tolist() == [4, 9]
    assert not rows.truncated.any()


def test_actions_count_from_zero_wherever_the_space_starts(play):
    env = make("RtpdCount-v0")
    rows, actions = play(env, 4)
    assert env.spec.action_meanings == ("5", "6", "7")
    np.testing.assert_array_equal(rows.reward[1:], actions + 5)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Matrix", np.arange(6, dtype=np.float32)),
        ("Ram", np.arange(4, dtype=np.float32)),
        ("Count", np.array([0, 1, 0, 0], np.float32)),
    ],
)
def test_numbers_become_vectors(name, expected):
    env = make(f"Rtpd{name}-v0")
    frame = env.reset(0).frame
    np.testing.assert_array_equal(frame, [expected] * 2)
    assert (frame.dtype, env.spec.frame_shape) == (np.float32, expected.shape)
    assert (env.spec.stack, env.spec.frames_per_step) == (1, 1)


def test_pictures_become_luminance():
    env = make("RtpdHalfRed-v0")
    frame = env.reset(0).frame
    expected = np.zeros((2, 84, 84), np.uint8)
    expected[:, :, :42] = RED
    np.testing.assert_array_equal(frame, expected)
    assert (env.spec.stack, env.spec.frame_dtype) == (4, "uint8")
    for name in ("Grey", "GreyOne"):
        assert (make(f"Rtpd{name}-v0").reset(0).frame == 9).all()


@pytest.mark.parametrize(
    ("name", "space"), [("Four", "Box(0, 255, (84, 84, 4)"), ("Dict", "Dict(")]
)
def test_other_spaces_are_refused_by_name(name, space):
    with pytest.raises(EnvError) as caught:
        envs.check(f"gym/Rtpd{name}-v0", EnvOptions())
    assert space in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_module_can_register_the_id(tmp_path, monkeypatch):
    (tmp_path / "rtpd_test_cart.py").write_text(
        "import gymnasium\n"
        "gymnasium.register('RtpdCart-v0', 'gymnasium.envs.classic_control:CartPoleEnv')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("RTPD_IMPORT", "rtpd_test_cart")
    assert make("rtpd_test_cart:RtpdCart-v0").spec.frame_shape == (4,)
