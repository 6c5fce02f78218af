"""Time to expert: cases worked out by hand, a naive search as an oracle, and what is refused."""

import math

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from rtpd.errors import RequestError
from rtpd.report.arrival import Arrival, time_to_expert

CURVE = {
    "never": ([0, 50, 94], None),
    "reached and lost": ([0, 99, 90], None),
    "kept": ([0, 96, 97], (200, 2.5, True)),
    "lost and won back": ([99, 50, 95, 120], (300, 4.0, True)),
    "from the first on": ([95, 95], (100, 1.5, True)),
    "the last alone": ([0, 0, 95], (300, 4.0, False)),
    "a single one": ([100], (100, 1.5, False)),
    "no evaluation": ([], None),
}
STEPS, SECONDS = (100, 200, 300, 400), (1.5, 2.5, 4.0, 4.5)


@pytest.mark.parametrize("name", CURVE)
@pytest.mark.parametrize(("teacher", "base"), [(100, 0), (19.5, -20.5), (-50, -130)])
def test_time_to_expert_is_the_first_evaluation_that_stays(name, teacher, base):
    percent, expected = CURVE[name]
    scores = [base + (teacher - base) * p / 100 for p in percent]
    found = time_to_expert(STEPS[: len(scores)], SECONDS[: len(scores)], scores, teacher, base)
    assert found == (Arrival(*expected) if expected else None)


@given(scores=st.lists(st.integers(0, 100), max_size=12), percent=st.integers(1, 100))
def test_time_to_expert_is_that_of_a_naive_search(scores, percent):
    steps = range(10, 10 * len(scores) + 10, 10)
    stays = [n for n in range(len(scores)) if min(scores[n:]) >= percent]
    found = time_to_expert(steps, np.arange(0.0, len(scores)), scores, 100, percent=percent)
    assert (found and found.steps) == (steps[stays[0]] if stays else None)
    assert not found or found.confirmed == (len(stays) > 1)


def test_a_teacher_no_better_than_chance_gives_no_time():
    assert time_to_expert([1, 2], [1, 2], [9, 9], teacher=3, base=3) is None
    assert time_to_expert([1, 2], [1, 2], [9, 9], teacher=-5, base=3) is None


@pytest.mark.parametrize(
    ("steps", "scores", "line"),
    [
        ([1, 2], [5], "evaluations with 2 steps, 2 times, 1 scores: equally many are needed"),
        ([1, 2], [5, math.nan], "evaluations: nan is no score; allowed: finite numbers"),
        ([2, 2], [5, 5], "evaluations: step 2 after 2; they must rise"),
        ([2, 1], [5, 5], "evaluations: step 1 after 2; they must rise"),
    ],
)
def test_curves_that_are_none_are_refused(steps, scores, line):
    with pytest.raises(RequestError, match=line):
        time_to_expert(steps, [1.0, 2.0], scores, 100)
