from pkgutil import resolve_name

import pytest

from rtpd import envs
from rtpd.envs import EnvOptions
from rtpd.envs.common import env_seeds
from rtpd.errors import EnvError


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("pong", "ale/pong"),
        ("Pong", "ale/pong"),
        ("ale/Pong", "ale/pong"),
        ("ALE/pong", "ale/pong"),
        ("MsPacman", "ale/ms_pacman"),
        ("ms_pacman", "ale/ms_pacman"),
        ("ms-pacman", "ale/ms_pacman"),
        ("JamesBond", "ale/jamesbond"),
        ("TicTacToe3D", "ale/tic_tac_toe_3d"),
        ("PongNoFrameskip-v4", "ale/pong"),
        ("MsPacmanNoFrameskip-v4", "ale/ms_pacman"),
        ("gym/CartPole-v1", "gym/CartPole-v1"),
        ("probe/Chain", "probe/chain"),
    ],
)
def test_spellings_of_one_name(name, expected):
    assert envs.canonical(name) == expected
    envs.check(name)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("pnog", ("'pnog'", "'pong'")),
        ("ale/brekout", ("'brekout'", "'breakout'")),
        ("combat", ("'combat'",)),  # two players: loading it would end the process
        ("ael/pong", ("'ael'", "'ale'")),
        ("ALE/Pong-v5", ("'Pong-v5'", "'pong'", "sticky-actions 0.25")),
        ("gym/ALE/Pong-v5", ("'gym/ALE/Pong-v5'", "'pong'")),
        ("gym/PongNoFrameskip-v4", ("'gym/PongNoFrameskip-v4'", "'pong'")),
        ("MsPacmanDeterministic-v4", ("'ms_pacman'",)),
        ("CartPole-v1", ("'CartPole-v1'", "'gym/CartPole-v1'")),
        ("gym/Dodge-v0", ("'Dodge-v0'", "RTPD_IMPORT=MODULE")),
        ("gym/CartPole-v9", ("'CartPole-v9'", "'CartPole-v1'")),
        ("gym/Pendulum-v1", ("'Pendulum-v1'", "Box(-2.0, 2.0", "Discrete")),
        ("gym/nowhere.at.all:Env-v0", ("nowhere",)),
        ("probe/chian", ("'chian'", "'chain'")),
        ("", ("''",)),
    ],
)
def test_bad_names_are_one_line_with_the_value_and_the_nearest(name, parts):
    for call in (envs.check, lambda name: envs.make(name, 1, EnvOptions())):
        with pytest.raises(EnvError) as caught:
            call(name)
        message = str(caught.value)
        assert "\n" not in message
        for part in parts:
            assert part in message


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("sticky_actions", 1.0),
        ("sticky_actions", -0.1),
        ("noop_max", -1),
        ("frame_skip", 0),
        ("max_episode_frames", 0),
        ("threads", -1),
    ],
)
def test_options_out_of_range_are_refused(option, value):
    with pytest.raises(EnvError, match=f"{option} is {value}"):
        EnvOptions(**{option: value})


def test_no_envs_are_refused():
    with pytest.raises(EnvError, match="num_envs is 0"):
        envs.make("probe/one", 0, EnvOptions())


def test_env_seeds_of_neighbouring_runs_do_not_meet():
    seeds = [int(s) for run in range(50) for s in env_seeds(run, 64)]
    assert len(set(seeds)) == len(seeds)
    assert min(seeds) >= 0


@pytest.mark.parametrize("name", envs.FAMILIES)
def test_a_family_is_complete_and_gives_unknown_names_back(name):
    family = resolve_name(envs.FAMILIES[name])()
    assert isinstance(family, envs.EnvFamily)
    assert family.canonical("no such env") == "no such env"
    with pytest.raises(EnvError, match="no such env"):
        family.check("no such env")


def test_a_family_without_pictures_has_none():
    assert envs.screen("probe/one", EnvOptions()) is None
