"""Python functions as teachers: what they are given, and what they may answer."""

import numpy as np
import pytest

from rtpd.agents.formats.host import ACTION_LOGIT, Reading, of_function
from rtpd.errors import ConfigError, RequestError
from rtpd.networks.heads import Logits, Scalar
from rtpd.types import EnvSpec

IMAGE = EnvSpec("ale/pong", 3, (5, 7))
VECTOR = EnvSpec("gym/X-v0", 3, (2,), "float32", stack=2, first_action=-1)


@pytest.mark.parametrize(("spec", "shape"), [(IMAGE, (6, 4, 5, 7)), (VECTOR, (6, 4))])
def test_a_function_is_given_observations_as_they_are(spec, shape):
    seen = []
    obs = np.arange(6 * spec.stack * np.prod(spec.frame_shape)).astype(spec.frame_dtype)
    obs = obs.reshape(6, spec.stack, *spec.frame_shape)

    def function(given):
        seen.append(given.copy())
        given[:] = 0  # it is its own
        return np.eye(3)[[0, 1, 2, 0, 1, 2]]

    teacher = of_function(function, spec, "q")
    found = teacher.q_values(obs)
    assert found.dtype == np.float32 and teacher.head == Scalar()
    (given,) = seen
    assert given.dtype == spec.frame_dtype and given.shape == shape
    np.testing.assert_array_equal(given.ravel(), obs.ravel())
    assert obs.any()
    assert teacher.provenance["source"]["function"].endswith("function")


def test_actions_are_logits_of_a_stated_size():
    teacher = of_function(lambda obs: np.array([[-1], [1]]), VECTOR, "actions")
    found = teacher.q_values(np.zeros((2, 2, 2), np.float32))
    np.testing.assert_array_equal(found, ACTION_LOGIT * np.eye(3)[[0, 2]])
    assert teacher.head == Logits()


class Odd:
    def __array__(self, *_, **__):
        raise RuntimeError("it\nrequires grad")


@pytest.mark.parametrize(
    ("output", "answer", "said"),
    [
        ("q", np.zeros((2, 4)), r"gives q \[2, 4\] for 2 states: allowed: \[2, 3\], .* 3 actions"),
        ("logits", np.zeros(2), r"gives logits \[2\] for 2 states: allowed: \[2, 3\]"),
        ("logits", np.zeros((1, 3)), r"gives logits \[1, 3\] for 2 states"),
        ("q", [[0.0, 1, np.nan]] * 2, "gives q that are not finite"),
        ("logits", [[0.0, 1, -np.inf]] * 2, "gives logits that are not finite"),
        ("q", [[0.0, 1, 1e300]] * 2, "gives q that are not finite"),
        ("q", np.zeros((2, 3), int), "gives q of int64: allowed: floating-point numbers"),
        ("q", None, r"gives q \[\] for 2 states"),
        ("q", Odd(), "gives Odd, which NumPy cannot read: it"),
        ("actions", [0.0, 1.0], "gives actions of float64: allowed: whole numbers"),
        ("actions", [0, 2], "gives action 2: allowed: -1 to 1"),
        ("actions", [-2, 0], "gives action -2: allowed: -1 to 1"),
        ("actions", np.zeros((2, 3), int), r"gives actions \[2, 3\] for 2 states: allowed: \[2\]"),
    ],
)
def test_what_is_no_answer_is_named_in_one_line(output, answer, said):
    teacher = of_function(lambda obs: answer, VECTOR, output)
    with pytest.raises(RequestError, match=said) as error:
        teacher.q_values(np.zeros((2, 2, 2), np.float32))
    assert "\n" not in str(error.value) and "test_host" in str(error.value)


def test_what_it_answers_must_be_said():
    with pytest.raises(ConfigError, match="what does the function answer"):
        of_function(lambda obs: obs, VECTOR, None)
    with pytest.raises(ConfigError, match="unknown --teacher-output 'logit': did you mean 'logit"):
        Reading("logit").check()
    with pytest.raises(ConfigError, match="--teacher-scale 0: allowed: a number above 0"):
        Reading(scale=0.0).check()
