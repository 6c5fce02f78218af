"""Statistics: tables worked out by hand, rliable as an oracle, laws, and what is refused."""

import math
from functools import partial

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import assume, given

from rtpd.errors import RequestError
from rtpd.report.stats import (
    AGGREGATES,
    Estimate,
    Runs,
    estimate,
    geometric_mean,
    iqm,
    mean,
    median,
    optimality_gap,
    performance_profile,
    probability_of_improvement,
    share_above,
)

# Worked out by hand.
TABLE = [
    (iqm, {"a": [1, 2, 3, 4]}, 2.5),
    (iqm, {"a": [9, 1], "b": [5, 3]}, 4),
    (iqm, {"a": [0, 1, 2, 3, 100]}, 2),  # a quarter of 5 runs is one run
    (iqm, {"a": [1, 2, 30]}, 11),  # ... of 3 runs is none
    (iqm, {"a": [7]}, 7),
    # As 0 0 4 8 for a and 1 1 1 1 for b (b's run four times): 0 0 | 1 1 1 1 | 4 8
    (iqm, {"a": [0, 0, 4, 8], "b": [1]}, 1),
    # As 0 0 0 6 6 6 and 1 1 5 5 9 9, three left out at either end: 0 0 0 | 1 1 5 5 6 6 | 6 9 9
    (iqm, {"a": [0, 6], "b": [1, 5, 9]}, 4),
    (mean, {"a": [1, 3], "b": [10, 20, 30]}, 11),
    (median, {"a": [0, 2], "b": [5, 5], "c": [90, 110]}, 5),
    (median, {"a": [0, 2], "b": [5, 6]}, 3.25),
    (optimality_gap, {"a": [0.5, 2], "b": [0.2, 0.7, 0.9]}, 0.325),  # 1 - (0.75 + 0.6) / 2
    (partial(optimality_gap, gamma=2), {"a": [0.5, 2]}, 0.75),
    (geometric_mean, {"a": [50, 150], "b": [1]}, 10),
    (geometric_mean, {"a": [-1, 5], "b": [8]}, 4),  # a's mean is above 0, and that is enough
    (partial(share_above, tau=1), {"a": [1, 2], "b": [0, 2, 2, 2]}, 0.625),
]

# The ten games of Rusu et al. 2015 (arXiv:1511.06295): per cent of the DQN teacher, and the
# geometric mean that they print.
RUSU = {
    "net25": (108.3, [87.1, 105.6, 142.5, 103.5, 102.5, 100.6, 129.6, 109.3, 142.7, 78.6]),
    "net7": (101.7, [85.3, 98.1, 141.3, 103.5, 86.4, 103.7, 130.6, 102.7, 163.5, 49.4]),
    "net4": (83.9, [75.2, 78.6, 117.1, 103.5, 96.2, 96.9, 107.9, 84.1, 137.4, 20.9]),
    "multitask10": (89.3, [55.2, 71.1, 128.9, 102.9, 89.3, 99.6, 132.9, 106.4, 154.7, 31.8]),
}

# eighths, so that no law hangs on rounding
score = st.integers(-800, 800).map(lambda n: n / 8)
tables = st.dictionaries(
    st.sampled_from("abcd"), st.lists(score, min_size=1, max_size=6), min_size=1
)
games = st.lists(st.tuples(st.lists(score, min_size=1), st.lists(score, min_size=1)), min_size=1)


def matrix(*, runs=5, num_games=6, seed=0, shift=0.0):
    """Scores [runs num_games] of games with different means and spreads, none of them tied."""
    rng = np.random.default_rng(seed)
    return rng.normal(np.linspace(0, 2, num_games) + shift, np.linspace(0.3, 1, num_games),
                      (runs, num_games))  # fmt: skip


def by_game(scores):
    return {f"game{i}": column for i, column in enumerate(np.asarray(scores).T)}


def value(aggregate, *scores):
    return float(aggregate(*map(Runs.of, scores)))


@pytest.mark.parametrize(("aggregate", "scores", "expected"), TABLE)
def test_aggregates_are_those_worked_out_by_hand(aggregate, scores, expected):
    assert value(aggregate, scores) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("net", RUSU)
def test_the_geometric_mean_is_the_published_one(net):
    printed, percent = RUSU[net]
    scores = {str(game): [p] for game, p in enumerate(percent)}
    assert value(geometric_mean, scores) == pytest.approx(printed, abs=0.1)  # rounded to tenths


@pytest.mark.parametrize(
    ("x", "y", "expected"),
    [
        ({"a": [2, 4]}, {"a": [1, 3]}, 0.75),
        ({"a": [1, 1]}, {"a": [1]}, 0.5),
        ({"a": [1, 2, 3]}, {"a": [2]}, 0.5),
        ({"a": [5], "b": [0, 1]}, {"b": [1, 2, 2, 3], "a": [4, 4]}, 0.53125),  # 1 and 1/16
    ],
)
def test_improvement_is_that_worked_out_by_hand(x, y, expected):
    assert value(probability_of_improvement, x, y) == expected


# The same, naively.


@given(scores=tables)
def test_iqm_is_the_trimmed_mean_of_runs_repeated_until_games_weigh_the_same(scores):
    most = math.lcm(*map(len, scores.values()))
    row = sorted(x for runs in scores.values() for x in runs * (most // len(runs)))
    cut = len(row) // 4
    assert value(iqm, scores) == pytest.approx(np.mean(row[cut : len(row) - cut]), abs=1e-9)


@given(pairs=games)
def test_improvement_is_the_share_of_pairs_won(pairs):
    x, y = ({str(g): p[i] for g, p in enumerate(pairs)} for i in (0, 1))
    wins = [np.mean([(a > b) + (a == b) / 2 for a in p[0] for b in p[1]]) for p in pairs]
    assert value(probability_of_improvement, x, y) == pytest.approx(np.mean(wins))


# Laws.


@pytest.mark.parametrize("aggregate", [iqm, mean, median])
@given(scores=tables, constant=score)
def test_averages_lie_among_the_scores_and_move_with_them(aggregate, scores, constant):
    found, everything = value(aggregate, scores), np.concatenate(list(scores.values()))
    assert everything.min() - 1e-9 <= found <= everything.max() + 1e-9
    moved = {game: [x + constant for x in runs] for game, runs in scores.items()}
    assert value(aggregate, moved) == pytest.approx(found + constant, abs=1e-9)
    halved = {game: [x / 2 for x in runs] for game, runs in scores.items()}
    assert value(aggregate, halved) == pytest.approx(found / 2, abs=1e-9)


@given(scores=tables, constant=score)
def test_the_gap_is_nothing_above_gamma_and_the_distance_below(scores, constant):
    top = max(map(max, scores.values()))
    assert value(partial(optimality_gap, gamma=top), scores) == pytest.approx(
        top - value(mean, scores), abs=1e-9
    )
    least = min(map(min, scores.values()))
    assert value(partial(optimality_gap, gamma=least), scores) == pytest.approx(0, abs=1e-9)
    assert value(partial(optimality_gap, gamma=constant), scores) >= -1e-9


@given(x=tables, y=tables)
def test_what_x_does_not_win_y_wins(x, y):
    assume(x.keys() & y.keys())
    x, y = ({g: t[g] for g in x.keys() & y.keys()} for t in (x, y))
    both = value(probability_of_improvement, x, y) + value(probability_of_improvement, y, x)
    assert both == pytest.approx(1)
    assert value(probability_of_improvement, x, x) == pytest.approx(0.5)


@given(scores=tables, order=st.randoms(use_true_random=False))
def test_the_order_of_runs_and_games_changes_nothing(scores, order):
    def shuffled(items):
        return order.sample(list(items), len(items))

    other = {game: shuffled(scores[game]) for game in shuffled(scores)}
    for aggregate in AGGREGATES.values():
        assert estimate(aggregate, other, samples=20) == estimate(aggregate, scores, samples=20)


@given(scores=tables)
def test_a_profile_falls_from_1_to_0(scores):
    taus = np.linspace(-101, 101, 60)
    profile = performance_profile(scores, taus, samples=50)
    shares = [p.value for p in profile]
    assert (shares[0], shares[-1]) == pytest.approx((1, 0))
    assert (np.diff(shares) <= 0).all()
    if all(p.interval for p in profile):
        assert (np.diff([p.interval for p in profile], axis=0) <= 0).all()


# Intervals.


@pytest.mark.parametrize("aggregate", AGGREGATES.values())
def test_an_interval_holds_the_estimate_and_narrows_with_runs(aggregate):
    def width(runs):
        found = estimate(aggregate, by_game(matrix(runs=runs)))
        low, high = found.interval
        assert low < found.value < high
        return high - low

    assert width(80) < 0.6 * width(10)  # about a third: the root of 1/8


def test_runs_are_drawn_within_their_game_only():
    # Each game's runs agree, so that nothing is left to chance; together they differ widely.
    scores = {"a": [1, 1, 1], "b": [100, 100]}
    for aggregate in AGGREGATES.values():
        found = estimate(aggregate, scores)
        assert found.interval == pytest.approx((found.value, found.value))


def test_resamples_are_those_of_a_fair_die():
    runs = Runs.of({"a": [0, 1, 2], "b": [10, 11]})
    drawn = runs.resample(20_000, np.random.default_rng(0)).values
    assert drawn.shape == (20_000, 5)
    for column in drawn.T[:3]:
        np.testing.assert_allclose([(column == n).mean() for n in range(3)], 1 / 3, atol=0.015)
    for column in drawn.T[3:]:
        assert (column == 10).mean() == pytest.approx(1 / 2, abs=0.015)
        assert set(column) == {10, 11}
    np.testing.assert_allclose(np.corrcoef(drawn.T), np.eye(5), atol=0.03)


def test_the_interval_of_two_runs_is_worked_out_by_hand():
    # Means of two runs drawn from 0 and 8: 0, 4, 8 with chances 1/4, 1/2, 1/4.
    assert estimate(mean, {"a": [0, 8]}).interval == (0, 8)
    # Six runs of which one is 6: the mean is their number k, k >= 4 with chance 0.87 %.
    assert estimate(mean, {"a": [0, 0, 0, 0, 0, 6]}).interval == (0, 3)


def test_the_seed_settles_the_interval():
    scores = by_game(matrix())
    assert estimate(iqm, scores, seed=1) == estimate(iqm, scores, seed=1)
    assert estimate(iqm, scores, seed=1) != estimate(iqm, scores, seed=2)
    assert estimate(iqm, scores, seed=1).value == estimate(iqm, scores, seed=2).value


@pytest.mark.parametrize("aggregate", [mean, iqm])
def test_of_95_percent_intervals_about_95_percent_hold_the_truth(aggregate):
    rng = np.random.default_rng(0)
    trials, held = 400, 0
    for trial in range(trials):
        scores = by_game(rng.normal(3, 1, (20, 4)))
        low, high = estimate(aggregate, scores, samples=500, seed=trial).interval
        held += low <= 3 <= high
    # Resampling 20 runs understates their spread by sqrt(19/20): 94.4 % for the mean. The
    # standard deviation of 400 trials is 1.1 %.
    assert 0.915 <= held / trials <= 0.975


# rliable, whose definitions these are. Its random numbers are others: an end of a 95 % interval,
# the 2.5 % point of n resamples, is off by sqrt(0.025 x 0.975 / n) / f, where f = 0.0584 / sd is
# the density there of about normal resamples. With 1,000 of theirs and 20,000 of ours that is
# 0.087 sd, and an sd is the interval's width / 3.92.
THEIRS, OURS = 1_000, 20_000
NOISE = 4 * 0.087 / 3.92  # of the width, at four standard deviations


def agree(found, theirs, their_interval, step=0.0):
    assert found.value == pytest.approx(theirs, rel=1e-12)
    low, high = found.interval
    np.testing.assert_allclose((low, high), their_interval, atol=NOISE * (high - low) + step)


@pytest.fixture
def rliable():
    library = pytest.importorskip("rliable.library", reason="rliable is not installed")
    np.random.seed(0)  # it draws from NumPy's global state, whatever it is told
    return library


@pytest.mark.parametrize("shape", [(5, 6), (3, 1), (10, 4)])
@pytest.mark.parametrize("name", AGGREGATES)
def test_aggregates_are_those_of_rliable(rliable, name, shape):
    from rliable import metrics

    scores = matrix(runs=shape[0], num_games=shape[1])
    theirs = getattr(metrics, f"aggregate_{name}")
    assert value(AGGREGATES[name], by_game(scores)) == pytest.approx(theirs(scores), rel=1e-12)


@pytest.mark.parametrize("name", AGGREGATES)
def test_intervals_are_those_of_rliable(rliable, name):
    from rliable import metrics

    scores = matrix(runs=10)
    theirs = getattr(metrics, f"aggregate_{name}")
    values, intervals = rliable.get_interval_estimates(
        {"x": scores}, lambda s: np.array([theirs(s)]), reps=THEIRS
    )
    found = estimate(AGGREGATES[name], by_game(scores), samples=OURS)
    agree(found, values["x"][0], intervals["x"][:, 0])


def test_improvement_is_that_of_rliable(rliable):
    from rliable import metrics

    x = np.round(matrix(runs=8, num_games=3, shift=0.3), 1)  # some tie with some of y
    y = np.round(matrix(runs=6, num_games=3, seed=1), 1)
    values, intervals = rliable.get_interval_estimates(
        {"x,y": [x, y]},
        lambda x, y: np.array([metrics.probability_of_improvement(x, y)]),
        reps=THEIRS,
    )
    found = estimate(probability_of_improvement, by_game(x), by_game(y), samples=OURS)
    agree(found, values["x,y"][0], intervals["x,y"][:, 0])


def test_profiles_are_those_of_rliable(rliable):
    scores, taus = matrix(), [-0.5, 0, 0.5, 1, 1.5, 2, 9]
    values, bands = rliable.create_performance_profile({"x": scores}, taus, reps=THEIRS)
    profile = performance_profile(by_game(scores), taus, samples=OURS)
    for point, share, band in zip(profile, values["x"], bands["x"].T, strict=True):
        agree(point, share, band, step=1 / scores.size)  # shares are whole numbers of runs


# What is refused, and what is unknown.


@pytest.mark.parametrize(
    ("scores", "line"),
    [
        ({}, "no games: scores of at least one are needed"),
        ({"pong": [1, 2], "qbert": []}, r"qbert: scores of shape \(0,\): one number per run"),
        ({"pong": 3.0}, r"pong: scores of shape \(\): one number per run"),
        ({"pong": [[1, 2], [3, 4]]}, r"pong: scores of shape \(2, 2\): one number per run"),
        ({"pong": [1, 2], "qbert": [3, math.nan]}, "qbert: nan is no score; allowed: finite"),
        ({"pong": [1, -math.inf]}, "pong: -inf is no score; allowed: finite numbers"),
    ],
)
def test_scores_that_are_none_are_refused_by_name(scores, line):
    for aggregate in (*AGGREGATES.values(), geometric_mean):
        with pytest.raises(RequestError, match=f"^{line}"):
            estimate(aggregate, scores)
    with pytest.raises(RequestError, match=f"^{line}"):
        performance_profile(scores, [0.5])
    with pytest.raises(RequestError, match=f"^{line}"):
        estimate(probability_of_improvement, {"pong": [1]}, scores)


def test_games_that_only_one_agent_has_played_are_refused_by_name():
    with pytest.raises(RequestError, match=r"^qbert: only one of the two agents has scores"):
        estimate(probability_of_improvement, {"pong": [1, 2]}, {"pong": [1, 2], "qbert": [3, 4]})


@pytest.mark.parametrize("runs", [[0, 0], [-3, 1], [-5]])
def test_a_geometric_mean_of_nothing_or_less_is_refused_by_name(runs):
    with pytest.raises(
        RequestError, match=r"^qbert: mean score .* in a geometric mean; allowed: above 0"
    ):
        estimate(geometric_mean, {"pong": [90, 100], "qbert": runs})


def test_a_geometric_mean_that_some_resample_lacks_has_no_interval():
    assert estimate(geometric_mean, {"a": [-1, 5], "b": [8, 8]}) == Estimate(pytest.approx(4), None)
    assert estimate(geometric_mean, {"a": [1, 5], "b": [8, 8]}).interval is not None


def test_a_single_run_of_a_game_gives_a_value_and_no_interval():
    one, two = {"a": [1, 3], "b": [4]}, {"a": [1, 3], "b": [4, 4]}
    assert estimate(mean, one) == Estimate(3.0, None)
    assert estimate(mean, two).interval is not None
    assert estimate(probability_of_improvement, one, two).interval is None
    assert estimate(probability_of_improvement, two, one).interval is None
    assert performance_profile(one, [0, 9]) == [Estimate(1.0, None), Estimate(0.0, None)]


def test_other_nonsense_is_refused():
    with pytest.raises(RequestError, match=r"^tau nan"):
        performance_profile({"a": [1, 2]}, [0, math.nan])
    with pytest.raises(RequestError, match=r"^0 resamples: allowed: 1 or more"):
        estimate(mean, {"a": [1, 2]}, samples=0)


@pytest.mark.parametrize("value", [1.0, 0.1, -0.7, 1e-300, 1e300])
@pytest.mark.parametrize("counts", [(3,), (5, 7), range(1, 60)])
def test_the_iqm_of_equal_scores_is_that_score(value, counts):
    scores = {f"g{i}": [value] * n for i, n in enumerate(counts)}
    assert float(iqm(Runs.of(scores))) == value
