"""TD errors of the teachers: numbers worked out by hand, RLax, gradients that must be zero."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rlax
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rtpd.teachers import TEACHERS, lambda_returns

# (outputs, next_online, next_target, action, reward, discount): TD error of each teacher
TABLE = [
    # online chooses action 0, worth 10 to the target net; the target net would choose 1, worth 20
    (([1, 2], [5, 3], [10, 20], 0, 1, 0.5), {"double-dqn": 5.0, "dqn": 10.0}),
    (([1, 2], [3, 5], [10, 20], 1, 1, 0.5), {"double-dqn": 9.0, "dqn": 9.0}),
    # a terminal: the reward alone
    (([1, 2], [5, 3], [10, 20], 1, -1, 0), {"double-dqn": -3.0, "dqn": -3.0}),
    # three steps: 1 + 0.9 * 2 + 0.81 * 3 = 5.23, then 0.729 * 10 or * 20
    (([0, 4], [5, 3], [10, 20], 1, 5.23, 0.729), {"double-dqn": 8.52, "dqn": 15.81}),
    # ties go to the first action
    (([0, 0], [4, 4], [10, 20], 0, 0, 1), {"double-dqn": 10.0, "dqn": 20.0}),
    (([0, 0, 0], [1, 4, 4], [30, 10, 20], 0, 0, 1), {"double-dqn": 10.0, "dqn": 30.0}),
]
RLAX = {
    "dqn": lambda q, online, target, a, r, d: rlax.q_learning(q, a, r, d, target),
    "double-dqn": lambda q, online, target, a, r, d: rlax.double_q_learning(
        q, a, r, d, target, online
    ),
}
REPLAY = [name for name, teacher in TEACHERS.items() if teacher.regime == "replay"]
compiled = {name: jax.jit(TEACHERS[name].td_error) for name in REPLAY}
values = arrays(np.float32, 4, elements=st.floats(-8, 8, width=16))


def arguments(row):
    outputs, next_online, next_target, action, reward, discount = row
    floats = [jnp.asarray(x, jnp.float32) for x in (outputs, next_online, next_target)]
    return (*floats, jnp.int32(action), jnp.float32(reward), jnp.float32(discount))


def test_every_teacher_is_in_the_tables():
    assert set(REPLAY) == set(RLAX)
    assert all(set(REPLAY) == set(expected) for _, expected in TABLE)


@pytest.mark.parametrize("name", REPLAY)
@pytest.mark.parametrize(("row", "expected"), TABLE)
def test_td_errors_are_those_worked_out_by_hand(row, expected, name):
    error = TEACHERS[name].td_error(*arguments(row))
    assert error.shape == ()
    assert float(error) == pytest.approx(expected[name], rel=1e-5)


@pytest.mark.parametrize("name", REPLAY)
@given(
    q=values, online=values, target=values, action=st.integers(0, 3),
    reward=st.floats(-4, 4, width=16), discount=st.sampled_from([0.0, 0.9, 0.99**3]),
)  # fmt: skip
def test_td_errors_are_those_of_rlax(name, q, online, target, action, reward, discount):
    row = arguments((q, online, target, action, reward, discount))
    assert float(compiled[name](*row)) == pytest.approx(float(RLAX[name](*row)), abs=1e-4)


@pytest.mark.parametrize("name", REPLAY)
@pytest.mark.parametrize("row", [row for row, _ in TABLE])
def test_only_the_chosen_output_has_a_gradient(row, name):
    row = arguments(row)
    q_slope, *target_slopes = jax.grad(TEACHERS[name].td_error, (0, 1, 2, 4, 5))(*row)
    np.testing.assert_array_equal(q_slope, -jax.nn.one_hot(row[3], len(row[0])))
    for slope in target_slopes:
        np.testing.assert_array_equal(slope, np.zeros_like(slope))


@pytest.mark.parametrize("name", REPLAY)
def test_a_value_based_teacher_has_one_output_per_action(name):
    teacher, outputs = TEACHERS[name], jnp.array([1.0, -2.0, 3.0])
    assert teacher.num_outputs(3) == 3
    np.testing.assert_array_equal(teacher.q_values(outputs), outputs)


# (reward, terminal, last, value, gamma, lambda) and the returns, by hand
ROLLOUTS = [
    # one-step: reward + 0.5 * the next value
    (([1, 2, 3], [0, 0, 0], [0, 0, 0, 0], [9, 4, 6, 8], 0.5, 0.0), [3.0, 5.0, 7.0]),
    # to the end of the rollout: 7, 2 + 3.5, 1 + 2.75
    (([1, 2, 3], [0, 0, 0], [0, 0, 0, 0], [9, 4, 6, 8], 0.5, 1.0), [3.75, 5.5, 7.0]),
    # half and half: 7, 2 + 0.5 * (3.5 + 3), 1 + 0.5 * (2.625 + 2)
    (([1, 2, 3], [0, 0, 0], [0, 0, 0, 0], [9, 4, 6, 8], 0.5, 0.5), [3.3125, 5.25, 7.0]),
    # a terminal after the second step: its reward alone, and the first looks no further
    (([1, 2, 3], [0, 1, 0], [0, 0, 1, 0], [9, 4, 6, 8], 0.5, 1.0), [2.0, 2.0, 7.0]),
    # cut off by time after the second step: the value of the frame it was cut off at, whole
    (([1, 2, 3], [0, 0, 0], [0, 0, 1, 0], [9, 4, 6, 8], 0.5, 1.0), [3.5, 5.0, 7.0]),
]


def returns_of(row):
    reward, terminal, last, value, gamma, lam = row
    return lambda_returns(
        jnp.array(reward, jnp.float32), jnp.array(terminal, bool), jnp.array(last, bool),
        jnp.array(value, jnp.float32), gamma=gamma, lam=lam,
    )  # fmt: skip


@pytest.mark.parametrize(("row", "expected"), ROLLOUTS)
def test_lambda_returns_are_those_worked_out_by_hand(row, expected):
    assert returns_of(row) == pytest.approx(np.array(expected))


@given(
    arrays(np.float32, 7, elements=st.floats(-2, 2, width=16)),
    arrays(bool, 7),
    arrays(bool, 8),
    arrays(np.float32, 8, elements=st.floats(-8, 8, width=16)),
    st.floats(0, 1),
)
def test_lambda_returns_are_rlaxs(reward, terminal, last, value, lam):
    """RLax has no `last`: there lambda is 0, which bootstraps from the value alone."""
    discount = jnp.where(jnp.asarray(terminal), 0.0, 0.9)
    lambdas = jnp.where(jnp.asarray(last[1:]), 0.0, lam)
    expected = rlax.lambda_returns(jnp.asarray(reward), discount, jnp.asarray(value[1:]), lambdas)
    found = returns_of((reward, terminal, last, value, 0.9, lam))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
