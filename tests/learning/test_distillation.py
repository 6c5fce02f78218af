"""Distillation losses: tables of numbers, Optax as an oracle, and what each must be unmoved by."""

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis.extra.numpy import arrays

from rtpd.learning import distillation
from rtpd.learning.distillation import LOSSES

LN2, LN3, LN4 = 0.69314718, 1.09861229, 1.38629436
SOFTMAX = [name for name in LOSSES if name != "mse"]  # unmoved by a constant added to all Q
# Worked out by hand. The columns: student, teacher, temperature, loss.
TABLE = {
    "kl": [
        # student 1/4 3/4, teacher / T 4/5 1/5: 0.8 ln(0.8 / 0.25) + 0.2 ln(0.2 / 0.75)
        ([0, LN3], [LN4 / 2, 0], 0.5, 0.6661695),
        ([0, LN3], [LN4, 0], 1, 0.6661695),
        ([0, 0], [0, 0], 1, 0),
        ([0, 0, 0], [0, 30, 0], 0.01, LN3),  # a one-hot teacher: the log of 3 actions
    ],
    "reverse-kl": [
        # 0.25 ln(0.25 / 0.8) + 0.75 ln(0.75 / 0.2)
        ([0, LN3], [LN4 / 2, 0], 0.5, 0.7005292),
        ([0, LN3], [LN4, 0], 1, 0.7005292),
        ([0, 0], [2, 0], 1, 0.4337808),  # -ln 2 - (ln sigma(2) + ln sigma(-2)) / 2
    ],
    "nll": [
        ([0, LN3], [5, 1], 1, LN4),  # the student's probability of the teacher's action is 1/4
        ([0, LN3], [1, 5], 1, LN4 - LN3),  # ... 3/4
        ([0, LN3], [2, 2], 1, LN4),  # a tie goes to the first action
        ([0, LN3], [5, 1], 0.01, LN4),  # no temperature
    ],
    "mse": [
        ([0, 2], [1, 5], 1, 5),  # (1 + 9) / 2
        ([0, 2], [1, 5], 0.01, 5),
        ([1, -1, 4], [1, 2, 4], 1, 3),
    ],
    "kl-td": [
        # T = 1/2, student / T 1/10 9/10, teacher / T 4/5 1/5: (0.8 ln 8 + 0.2 ln(2 / 9)) / 2
        ([0, LN3], [LN4 / 2, 0], 0.5, 0.6813689),
        ([0, LN3], [LN4, 0], 1, 0.6661695),
        ([0, 2 * LN3], [2 * LN4, 0], 2, 1.3323390),  # all in other units: so is the loss
    ],
}
# The same with Optax's own functions.
OPTAX = {
    "kl": lambda s, t, T: optax.kl_divergence(jax.nn.log_softmax(s), jax.nn.softmax(t / T)),
    "reverse-kl": lambda s, t, T: optax.kl_divergence(
        jax.nn.log_softmax(t / T), jax.nn.softmax(s)
    ),
    "nll": lambda s, t, T: optax.softmax_cross_entropy_with_integer_labels(s, jnp.argmax(t)),
    "mse": lambda s, t, T: jnp.mean(optax.squared_error(s, t)),
    "kl-td": lambda s, t, T: T * optax.kl_divergence(
        jax.nn.log_softmax(s / T), jax.nn.softmax(t / T)
    ),
}  # fmt: skip
# A student that has learnt all there is to learn from these values.
MATCH = {
    "kl": lambda q, T: q / T + 3,
    "reverse-kl": lambda q, T: q / T + 3,
    "nll": lambda q, T: 100.0 * (q == q.max()),
    "mse": lambda q, T: q,
    "kl-td": lambda q, T: q + 3,
}

# quarters, so that no tie hangs on rounding
values = arrays(np.float32, 5, elements=st.integers(-16, 16).map(lambda n: n / 4))
temperatures = st.sampled_from([0.25, 1.0, 3.0])
compiled = {name: jax.jit(jax.value_and_grad(kind.loss)) for name, kind in LOSSES.items()}


def loss_and_gradient(name, student, teacher, temperature):
    numbers = (jnp.asarray(x, jnp.float32) for x in (student, teacher, temperature))
    return compiled[name](*numbers)


def loss(name, student, teacher, temperature):
    return float(loss_and_gradient(name, student, teacher, temperature)[0])


def test_every_loss_is_in_the_tables():
    assert TABLE.keys() == OPTAX.keys() == MATCH.keys() == LOSSES.keys()


@pytest.mark.parametrize(
    ("name", "student", "teacher", "temperature", "expected"),
    [(name, *row) for name in TABLE for row in TABLE[name]],
)
def test_losses_are_those_worked_out_by_hand(name, student, teacher, temperature, expected):
    assert loss(name, student, teacher, temperature) == pytest.approx(expected, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("name", LOSSES)
@given(student=values, teacher=values, temperature=temperatures)
def test_losses_are_those_of_optax(name, student, teacher, temperature):
    expected = float(OPTAX[name](jnp.asarray(student), jnp.asarray(teacher), temperature))
    assert loss(name, student, teacher, temperature) == pytest.approx(expected, rel=2e-4, abs=1e-5)


@pytest.mark.parametrize("name", LOSSES)
@given(teacher=values, temperature=temperatures, change=values)
def test_the_match_is_the_minimum(name, teacher, temperature, change):
    teacher = teacher + np.linspace(0, 0.01, 5, dtype=np.float32)  # no ties
    match = MATCH[name](teacher, temperature)
    least, slope = loss_and_gradient(name, match, teacher, temperature)
    assert float(least) == pytest.approx(0, abs=1e-5)
    np.testing.assert_allclose(slope, 0, atol=1e-5)
    assert loss(name, match + change, teacher, temperature) >= -1e-5  # never negative


@pytest.mark.parametrize("name", LOSSES)
@given(student=values, teacher=values, temperature=temperatures)
def test_the_order_of_the_actions_does_not_matter(name, student, teacher, temperature):
    teacher = teacher + np.linspace(0, 0.01, 5, dtype=np.float32)  # no ties
    order = np.array([3, 1, 4, 0, 2])
    value, slope = loss_and_gradient(name, student, teacher, temperature)
    other, other_slope = loss_and_gradient(name, student[order], teacher[order], temperature)
    assert float(other) == pytest.approx(float(value), rel=1e-5, abs=1e-5)
    np.testing.assert_allclose(other_slope, slope[order], atol=1e-5)


@pytest.mark.parametrize("name", SOFTMAX)
@given(student=values, teacher=values, temperature=temperatures)
def test_a_constant_added_to_all_values_changes_nothing(name, student, teacher, temperature):
    teacher = teacher + np.linspace(0, 0.01, 5, dtype=np.float32)  # no ties
    plain = loss(name, student, teacher, temperature)
    for shifted in ((student, teacher + 64), (student + 64, teacher)):
        assert loss(name, *shifted, temperature) == pytest.approx(plain, rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("student", [[0, 0, 0], [1000, 0, -1000], [-1000, 0, 1000]])
def test_losses_stay_finite_at_a_sharp_temperature(name, student):
    value, slope = loss_and_gradient(name, student, [1000, 0, -1000], 0.001)
    assert np.isfinite(value) and np.isfinite(slope).all()


@pytest.mark.parametrize("temperature", [0.1, 1.0, 10.0])
def test_the_slope_of_scaled_kl_is_the_difference_of_the_policies(temperature):
    student, teacher = jnp.array([0.3, -0.2, 0.5]), jnp.array([0.1, 0.4, -0.3])
    slope = jax.grad(distillation.scaled_kl)(student, teacher, temperature)
    policies = jax.nn.softmax(student / temperature) - jax.nn.softmax(teacher / temperature)
    np.testing.assert_allclose(slope, policies, atol=1e-6)
    # So in other units of Q, the temperature's too, the slope is the same.
    rescaled = jax.grad(distillation.scaled_kl)(7 * student, 7 * teacher, 7 * temperature)
    np.testing.assert_allclose(rescaled, slope, atol=1e-6)


@pytest.mark.parametrize(
    ("q", "gap"),
    [
        ([3.0], 0),
        ([3, 1], 2),
        ([1, 3], 2),
        ([2, 2, 1], 0),  # a tie
        ([-5, -1, -2.5], 1.5),
        ([0, 7, 100, 90], 10),
    ],
)
def test_action_gap(q, gap):
    assert float(distillation.action_gap(jnp.array(q, jnp.float32))) == pytest.approx(gap)


AGREEMENT = {
    # outputs, q: agreement, constant agreement, advantage kept, by a constant action, spread
    "the same": ([[1, 0], [0, 1]], [[5, 4], [4, 5]], 1, 0.5, 1, 0, 1),
    "half": ([[1, 0], [1, 0]], [[5, 4], [4, 5]], 0.5, 0.5, 0, 0, 0),
    # a quarter of the states loses 1 where a random action loses 2/3 on average
    "collapsed": ([[2, 1, 0]] * 4, [[1, 0, 0]] * 3 + [[0, 1, 0]], 0.75, 0.75, 0.625, 0.625, 0),
    "among equals": ([[0, 1, 0], [0, 1, 0]], [[3, 3, 0], [3, 3, 0]], 0, 1, 1, 1, 0),
    "the worst": ([[0, 1], [1, 0]], [[5, 4], [4, 5]], 0, 0.5, -1, 0, 1),
    # preferences [1, -1] and [3, -3]: of their variance 5, 1 lies between the states
    "stronger": ([[2, 0], [6, 0]], [[1, 0], [0, 1]], 0.5, 0.5, 0, 0, 0.2),
    "constant": ([[1, 1], [1, 1]], [[1, 0], [1, 0]], 1, 1, 1, 1, 0),
}


@pytest.mark.parametrize(
    ("outputs", "q", "agree", "constant", "kept", "kept_by_constant", "spread"),
    AGREEMENT.values(),
    ids=AGREEMENT,
)
def test_student_metrics(outputs, q, agree, constant, kept, kept_by_constant, spread):
    found = distillation.student_metrics(jnp.array(outputs, jnp.float32), jnp.array(q, jnp.float32))
    assert {name: float(value) for name, value in found.items()} == pytest.approx(
        {
            "agreement": agree, "constant_agreement": constant, "advantage_kept": kept,
            "constant_advantage_kept": kept_by_constant, "spread": spread,
        },
        abs=1e-6,
    )  # fmt: skip


def test_dead_units_are_silent_on_every_state():
    first = jnp.array([[[0.0, 1.0], [0.0, 0.0]], [[0.0, 0.0], [2.0, 0.0]]])  # 2 of 4 are dead
    second = jnp.array([[0.0], [0.0]])
    assert float(distillation.dead_share([first, second])) == pytest.approx(3 / 5)


@pytest.mark.parametrize(
    ("q", "temperature", "expected"),
    [
        ([1, 1, 1], 1, 0),
        ([0, 100], 1, 1),
        ([5], 1, 1),
        ([0, np.log(3)], 1, 1 + (0.25 * np.log(0.25) + 0.75 * np.log(0.75)) / np.log(2)),
        ([0, np.log(3) / 100], 0.01, 1 + (0.25 * np.log(0.25) + 0.75 * np.log(0.75)) / np.log(2)),
    ],
)
def test_certainty(q, temperature, expected):
    found = distillation.certainty(jnp.array(q, jnp.float32), temperature)
    assert float(found) == pytest.approx(expected, abs=1e-5)
