"""Losses of the teachers: numbers worked out by hand, RLax, gradients that must be zero."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rlax
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rtpd.errors import RtpdError
from rtpd.learning.teachers import TEACHERS, algorithm_of
from rtpd.learning.teachers.c51 import C51
from rtpd.learning.teachers.dqn import td_loss
from rtpd.learning.teachers.munchausen import Munchausen
from rtpd.learning.teachers.off_policy import Bootstrap, Transition
from rtpd.learning.teachers.on_policy import OnPolicyAlgorithm
from rtpd.learning.teachers.pqn import lambda_returns
from rtpd.learning.teachers.qr_dqn import QRDQN
from rtpd.networks.heads import Categorical, Quantile

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
TABLED = [(name, row, found) for row, expected in TABLE for name, found in expected.items()]

# (outputs, target net's outputs here, target net's outputs next, action, reward, discount): TD
# error with temperature 0.5, scale 0.9 and the log-policy clipped at -1. Equal q leave a log-policy
# of 0.5 * ln 1/2 = -0.346574, whose 0.9 are -0.311916; the soft value of (4, 4) is
# 4 + 0.5 * ln 2 = 4.346574.
MUNCHAUSEN_TABLE = [
    (([1, 2], [3, 3], [4, 4], 0, 1, 0.5), 1 - 0.311916 + 0.5 * 4.346574 - 1),
    # an action that the policy never takes: the bonus is clipped at 0.9 * -1
    (([1, 2], [9, 0], [4, 4], 1, 1, 0.5), 1 - 0.9 + 0.5 * 4.346574 - 2),
    # one that it always takes costs nothing; a terminal ends the bootstrap
    (([1, 2], [99, 0], [4, 4], 0, 1, 0), 1 - 0 + 0 - 1),
]

# (value of each atom of the chosen next action, reward, discount) and the projected distribution,
# on the values -10, 0 and 10
PROJECTED = [
    # -10, 0, 10 become 0, 5, 10: 5 lies halfway between its neighbours
    (([0.2, 0.3, 0.5], 5, 0.5), [0, 0.35, 0.65]),
    # a terminal: all of it at 2.5, a quarter of the way from 0 to 10
    (([0.2, 0.3, 0.5], 2.5, 0), [0, 0.75, 0.25]),
    # -10 becomes 5; 15 and 25 are beyond the end and clipped
    (([0.2, 0.3, 0.5], 15, 1), [0, 0.1, 0.9]),
]


THREE_ATOMS = C51(head=Categorical(atoms=3))  # the values -10, 0 and 10
TWO_QUANTILES = QRDQN(head=Quantile(atoms=2))  # 1/4 and 3/4


def categorical(q, online, target, a, r, d, *, double):
    support, shape = C51().head.support, (-1, C51().head.atoms)
    q, online, target = (x.reshape(shape) for x in (q, online, target))
    chooser = jax.nn.softmax(online) @ support if double else jax.nn.softmax(target) @ support
    args = (support, q, a, r, d, support, target, chooser)
    # RLax gives the cross-entropy too
    return rlax.categorical_double_q_learning(*args)


def quantiles(q, online, target, a, r, d):
    q, target = (x.reshape(-1, QRDQN().head.atoms).T for x in (q, target))
    middle = (jnp.arange(QRDQN().head.atoms) + 0.5) / QRDQN().head.atoms
    return rlax.quantile_q_learning(q, middle, a, r, d, target, target, huber_param=1.0)


# RLax has no Munchausen-DQN.
RLAX = {
    "dqn": lambda q, online, target, a, r, d: td_loss(rlax.q_learning(q, a, r, d, target), "huber"),
    "double-dqn": lambda q, online, target, a, r, d: td_loss(
        rlax.double_q_learning(q, a, r, d, target, online), "huber"
    ),
    "c51": partial(categorical, double=False),
    "rainbow": partial(categorical, double=True),
    "qr-dqn": quantiles,
}
REPLAY = [name for name, teacher in TEACHERS.items() if not teacher.on_policy]
ACTIONS = 3
seeds = st.integers(0, 2**31 - 1)


def loss_of(rule, outputs, online, target, action, reward, discount, current=None):
    bootstrap = Bootstrap(online, target, target if current is None else current)
    made = Transition(action, reward, discount)
    return rule.loss(outputs, bootstrap, made, "huber")


compiled = {name: jax.jit(partial(loss_of, algorithm_of(name))) for name in REPLAY}
oracles = {name: jax.jit(oracle) for name, oracle in RLAX.items()}


def arguments(row):
    outputs, next_online, next_target, action, reward, discount = row
    floats = [jnp.asarray(x, jnp.float32) for x in (outputs, next_online, next_target)]
    return (*floats, jnp.int32(action), jnp.float32(reward), jnp.float32(discount))


def random_row(name, seed, action=1, reward=0.7, discount=0.9):
    outputs = np.random.default_rng(seed).normal(0, 2, (3, ACTIONS * algorithm_of(name).head.atoms))
    return arguments((*outputs, action, reward, discount))


@pytest.mark.parametrize(("name", "row", "expected"), TABLED)
def test_td_errors_are_those_worked_out_by_hand(name, row, expected):
    _, td_error = loss_of(algorithm_of(name), *arguments(row))
    assert td_error.shape == ()
    assert float(td_error) == pytest.approx(abs(expected), rel=1e-5)


@pytest.mark.parametrize(("row", "expected"), MUNCHAUSEN_TABLE)
def test_munchausens_td_errors_are_those_worked_out_by_hand(row, expected):
    outputs, here, target, action, reward, discount = arguments(row)
    rule = Munchausen(temperature=0.5)
    loss, td_error = loss_of(rule, outputs, target, target, action, reward, discount, here)
    assert float(td_error) == pytest.approx(abs(expected), abs=1e-5)
    assert float(loss) == pytest.approx(float(td_loss(jnp.float32(expected), "huber")), abs=1e-5)


@pytest.mark.parametrize(("row", "expected"), PROJECTED)
def test_c51_shares_each_value_between_its_neighbours(row, expected):
    chances, reward, discount = (jnp.asarray(x, jnp.float32) for x in row)
    rule = THREE_ATOMS
    found = rule.project(reward + discount * rule.head.support, chances)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    # two actions, of which the target net prefers the second, with these chances
    target = jnp.concatenate([jnp.array([9.0, 0.0, 0.0]), jnp.log(chances)])
    outputs = jnp.log(jnp.array([0.5, 0.25, 0.25, 0.1, 0.1, 0.8]))
    loss, _ = loss_of(rule, outputs, target, target, jnp.int32(0), reward, discount)
    cross_entropy = -np.sum(np.array(expected) * np.log([0.5, 0.25, 0.25]))
    assert float(loss) == pytest.approx(cross_entropy, abs=1e-5)


def test_qr_dqns_loss_is_the_one_worked_out_by_hand():
    """Quantiles 0 and 4 (of 1/4 and 3/4) against the targets 1 and 3."""
    outputs, target = jnp.array([0.0, 4.0, 9.0, 9.0]), jnp.array([0.0, 0.0, 1.0, 3.0])
    row = (outputs, target, target, jnp.int32(0), jnp.float32(0), jnp.float32(1))
    # errors of the first: 1 and 3, Huber 0.5 and 2.5, weighted 1/4; of the second: -3 and -1,
    # Huber 2.5 and 0.5, weighted 1/4; means 0.375 each
    loss, _ = loss_of(TWO_QUANTILES, *row)
    assert float(loss) == pytest.approx(0.75)


def test_every_teacher_has_an_oracle():
    assert set(REPLAY) == set(RLAX) | {"munchausen"}


@pytest.mark.filterwarnings("ignore:Rlax categorical_cross_entropy:PendingDeprecationWarning")
@pytest.mark.parametrize("name", RLAX)
@given(
    seed=seeds, action=st.integers(0, ACTIONS - 1), reward=st.floats(-4, 4, width=16),
    discount=st.sampled_from([0.0, 0.9, 0.99**3]),
)  # fmt: skip
def test_losses_are_those_of_rlax(name, seed, action, reward, discount):
    row = random_row(name, seed, action, reward, discount)
    loss, _ = compiled[name](*row)
    assert float(loss) == pytest.approx(float(oracles[name](*row)), rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("name", REPLAY)
def test_only_the_chosen_actions_outputs_have_a_gradient(name):
    row = random_row(name, seed=0)

    def loss(outputs, online, target, reward, discount):
        return compiled[name](outputs, online, target, row[3], reward, discount)[0]

    slope, *target_slopes = jax.grad(loss, range(5))(*row[:3], *row[4:])
    slope = slope.reshape(ACTIONS, -1)
    assert np.all(slope[1])
    assert not np.any(slope[np.array([0, 2])])
    for target_slope in target_slopes:
        np.testing.assert_array_equal(target_slope, np.zeros_like(target_slope))


@pytest.mark.parametrize("name", TEACHERS)
def test_the_line_of_a_teacher_tells_what_its_class_is(name, monkeypatch):
    algorithm, line = algorithm_of(name), TEACHERS[name]
    assert isinstance(algorithm, OnPolicyAlgorithm) == line.on_policy
    wrongs = {"on_policy": not line.on_policy, "atoms": 7, "gives_q": not line.gives_q}
    for wrong in (line._replace(**{name: value}) for name, value in wrongs.items()):
        monkeypatch.setitem(TEACHERS, name, wrong)
        with pytest.raises(RtpdError, match=name):
            algorithm_of(name)


@pytest.mark.parametrize("name", TEACHERS)
def test_q_values_are_one_number_per_action(name):
    teacher = algorithm_of(name)
    size = ACTIONS * teacher.head.atoms + teacher.head.extra
    outputs = jnp.asarray(np.random.default_rng(0).normal(size=size))
    q = teacher.head(outputs)
    assert q.shape == (ACTIONS,)
    if teacher.head.atoms == 1:
        np.testing.assert_array_equal(q, outputs[:ACTIONS])


def test_the_mean_of_a_distribution_is_its_q_value():
    chances = jnp.array([[0.2, 0.3, 0.5], [1.0, 1e-9, 1e-9]])
    np.testing.assert_allclose(THREE_ATOMS.head(jnp.log(chances).ravel()), [3, -10], atol=1e-5)
    np.testing.assert_allclose(TWO_QUANTILES.head(jnp.array([1.0, 2.0, 5.0, 9.0])), [1.5, 7])


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


compiled_returns, rlax_returns = jax.jit(lambda_returns), jax.jit(rlax.lambda_returns)


def returns_of(row):
    reward, terminal, last, value, gamma, lam = row
    return compiled_returns(
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
    expected = rlax_returns(jnp.asarray(reward), discount, jnp.asarray(value[1:]), lambdas)
    found = returns_of((reward, terminal, last, value, 0.9, lam))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
