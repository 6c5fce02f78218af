import pytest

from rtpd.envs.ale import games
from rtpd.envs.baselines import baselines, human_normalised


def test_every_game_with_a_baseline_is_one_of_ales():
    assert len(baselines()) == 57
    assert set(baselines()) <= set(games())
    assert all(b.human > b.random for b in baselines().values())


@pytest.mark.parametrize(
    ("game", "score", "expected"),
    [
        ("pong", -20.7, 0),
        ("ale/pong", 14.6, 1),
        ("ale/ms_pacman", 307.3 + 2 * (6951.6 - 307.3), 2),
        ("breakout", 16.1, 0.5),
        ("adventure", 1, None),
        ("gym/CartPole-v1", 1, None),
    ],
)
def test_random_is_0_and_human_is_1(game, score, expected):
    assert human_normalised(game, score) == (
        expected if expected is None else pytest.approx(expected)
    )
