import tracemalloc

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Text, Tuple

from rtpd import envs
from rtpd.envs import EnvOptions, observations
from rtpd.envs.common import env_seeds
from rtpd.errors import EnvError, RtpdError

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
GRID = np.arange(60, dtype=np.uint8).reshape(5, 4, 3)
CASES = {
    "HalfRed": HALF_RED,
    "Grey": picture(84, 84, value=9),
    "GreyOne": picture(168, 84, 1, value=9),
    "Matrix": {"space": Box(-9, 9, (2, 3), np.float64), "obs": np.arange(6.0).reshape(2, 3)},
    "Ram": {"space": Box(0, 255, (4,), np.uint8), "obs": np.arange(4, dtype=np.uint8)},
    "Count": {"space": Discrete(4, start=2), "obs": 3},
    "Both": {"space": Discrete(2), "obs": 0, "terminal_after": 4},
    "Four": picture(84, 84, 4),
    "Text": {"space": Dict({"a": Text(3)}), "obs": {"a": "x"}},
    "Dict": {
        "space": Dict({"a": Discrete(3, start=1), "b": Box(-9, 9, (2,), np.float64)}),
        "obs": {"a": 2, "b": np.array([4.0, -5.0])},
    },
    "Tuple": {"space": Tuple((Discrete(2), MultiBinary(2))), "obs": (1, np.array([1, 0], np.int8))},
    "Many": {"space": MultiDiscrete([2, 3]), "obs": np.array([1, 2])},
    "Grid": {"space": Box(0, 255, (5, 4, 3), np.uint8), "obs": GRID},
    "Flipped": picture(3, 42, 100, value=9),
    "Wide": {"space": Discrete(200_000), "obs": 0},
    "Broad": {"space": Box(-1, 1, (300, 300), np.float32), "obs": 0},
    "Empty": {"space": Box(-1, 1, (0,), np.float32), "obs": 0},
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
    assert env.spec.first_action == 5
    np.testing.assert_array_equal(rows.reward[1:], actions + 5)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Matrix", np.arange(6, dtype=np.float32)),
        ("Ram", np.arange(4, dtype=np.float32)),
        ("Count", np.array([0, 1, 0, 0], np.float32)),
        ("Dict", np.array([0, 1, 0, 4, -5], np.float32)),
        ("Tuple", np.array([0, 1, 1, 0], np.float32)),
        ("Many", np.array([0, 1, 0, 0, 1], np.float32)),
        ("Grid", np.arange(60, dtype=np.float32)),
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
    for name in ("Grey", "GreyOne", "Flipped"):
        assert (make(f"Rtpd{name}-v0").reset(0).frame == 9).all()


@pytest.mark.parametrize(
    ("name", "space"), [("Four", "Box(0, 255, (84, 84, 4)"), ("Text", "Dict(")]
)
def test_other_spaces_are_refused_by_name(name, space):
    with pytest.raises(EnvError) as caught:
        envs.check(f"gym/Rtpd{name}-v0")
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


@pytest.mark.parametrize(
    ("name", "count"), [("Wide", "200,000"), ("Broad", "90,000"), ("Empty", "0 numbers")]
)
def test_a_size_that_no_net_can_have_is_refused_before_anything_is_allocated(name, count):
    tracemalloc.start()
    with pytest.raises(EnvError, match=rf"Rtpd{name}-v0.*{count}.*allowed: 1 to 65,536"):
        make(f"Rtpd{name}-v0")
    assert tracemalloc.get_traced_memory()[1] < 10**7
    tracemalloc.stop()


class Stacked(gymnasium.Env):
    """A stack of 3 (H, W)-frames of growing brightness, as wrappers make it; or no such stack."""

    observation_space = Box(0, 255, (3 + 1, 40, 40), np.uint8)
    action_space = Discrete(2)

    def __init__(self, moves=True):
        self.moves = moves

    def _see(self):
        ages = np.arange(-3, 1) if self.moves else np.arange(0, -4, -1)
        return (
            np.repeat(np.clip(self.steps + ages, 0, 255), 1600).astype(np.uint8).reshape(4, 40, 40)
        )

    def reset(self, *, seed=None, options=None):
        self.steps = 100
        return self._see(), {}

    def step(self, action):
        self.steps += 1
        return self._see(), 0.0, False, self.steps == 103, {}


gymnasium.register("RtpdStacked-v0", Stacked, disable_env_checker=True)
gymnasium.register("RtpdChannels-v0", Stacked, kwargs={"moves": False}, disable_env_checker=True)


def test_of_a_stack_of_frames_the_newest_is_taken_and_stacked_again(play):
    env = make("RtpdStacked-v0")
    assert (env.spec.frame_shape, env.spec.stack, env.spec.frame_dtype) == ((84, 84), 4, "uint8")
    rows, _ = play(env, 6)
    assert rows.frame[:, 0, 0, 0].tolist() == [100, 101, 102, 103, 100, 101, 102]


def test_channels_that_are_no_stack_of_frames_are_refused(play):
    with pytest.raises(RtpdError, match=r"RtpdChannels-v0.*no stack of frames"):
        play(make("RtpdChannels-v0"), 2)


def test_what_a_conversion_makes_alike_is_told():
    colours = np.zeros((84, 84, 3), np.uint8)
    colours[:40, :, 0], colours[40:, :, 2] = 3, 8  # red and blue of one grey
    for obs, said in ((colours, ["at most 8 of 255", "2 colours"]), (HALF_RED["obs"], [])):
        found = observations.losses(Box(0, 255, obs.shape, np.uint8), obs)
        assert len(found) == len(said) and all(a in b for a, b in zip(said, found, strict=True))
    numbers = Box(0, 2**40, (2,), np.int64)
    assert observations.losses(numbers, np.array([1, 2**24 + 1]))
    assert not observations.losses(numbers, np.array([1, 2**24]))
