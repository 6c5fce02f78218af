"""TD errors of the teachers: numbers worked out by hand, RLax, gradients that must be zero."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rlax
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rtpd.teachers import TEACHERS

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
