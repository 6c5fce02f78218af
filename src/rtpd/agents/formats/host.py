"""Teachers that are computed outside of JAX: what they are asked, and what they may answer.

An ONNX file or a Python function gets batches of observations as NumPy arrays: u8[N K H W] of
images, oldest frame first, f32[N K*D] of vectors. It answers with Q-values [N A], the logits of a
policy [N A], or the actions that it would take [N], as `env.step` takes them.
"""

import threading
from collections.abc import Callable
from math import prod
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from rtpd.agents.formats.normalize import Normalize
from rtpd.errors import ConfigError, RequestError, shortened, unknown
from rtpd.learning.teachers import POLICY
from rtpd.networks.heads import Logits, Scalar, ValueHead
from rtpd.networks.policy import HostPolicy
from rtpd.storage.manifest import FUNCTION
from rtpd.types import EnvSpec

HEADS: dict[str, ValueHead] = {"q": Scalar(), "logits": Logits(), "actions": Logits()}
ACTION_LOGIT = 5.0  # of an action that is taken; others have 0: 97 % of 6 actions, 90 % of 18


class Reading(NamedTuple):
    """What a teacher's file may leave open, and the user can say."""

    output: str | None = None  # one of `HEADS`
    scale: float | None = None  # what the pixels of float images are divided by
    normalize: Normalize | None = None  # what vectors are centred and scaled by

    def check(self) -> None:
        """ConfigError for a value that is none."""
        if self.output is not None and self.output not in HEADS:
            raise ConfigError(unknown("--teacher-output", self.output, HEADS))
        if self.scale is not None and not 0 < self.scale < float("inf"):
            raise ConfigError(
                f"--teacher-scale {self.scale:g}: allowed: a number above 0, such as 255"
            )


def shown(spec: EnvSpec) -> tuple[int, ...]:
    """The shape of one observation as a teacher outside of JAX is given it."""
    shape = (spec.stack, *spec.frame_shape)
    return shape if spec.is_image else (prod(shape),)


def of_function(
    function: Callable[[np.ndarray], Any], spec: EnvSpec, output: str | None
) -> HostPolicy:
    """A Python function of observations (see above) as a teacher; `output` is one of `HEADS`.

    It is called by one thread at a time, and what it answers is checked at every call: RequestError
    names what does not fit. ConfigError if nothing says what it answers.
    """
    if output is None:
        raise ConfigError(f"what does the function answer? teacher_output: {', '.join(HEADS)}")
    module = getattr(function, "__module__", None) or type(function).__module__
    name = f"{module}.{getattr(function, '__qualname__', type(function).__qualname__)}"
    lock = threading.Lock()

    def answers(obs: np.ndarray) -> np.ndarray:
        with lock:
            given = function(np.array(obs))  # its own, which it may write to
        try:
            return np.asarray(given)
        except Exception as error:  # of other libraries, about tensors of theirs
            raise RequestError(
                f"the teacher {name} gives {type(given).__name__}, which NumPy cannot read: "
                f"{shortened(str(error), 200)}"
            ) from None

    facts = facts_of(FUNCTION, output, {"function": name})
    return policy(answers, spec, output, f"the teacher {name}", facts)


def facts_of(net: str, output: str, source: dict[str, Any], parameters: int = 0) -> dict[str, Any]:
    """The provenance of a teacher outside of JAX; `parameters` is 0 if they are not known."""
    return {
        "agent": "teacher",
        "net": net,
        "loss": None,
        "teacher": "dqn" if HEADS[output].gives_q else POLICY,
        "parameters": parameters,
        "step": None,
        "output": output,
        "source": source,
    }


def policy(
    answers: Callable[[np.ndarray], np.ndarray], spec: EnvSpec, output: str, who: str,
    facts: dict[str, Any], model: bytes | None = None,
) -> HostPolicy:  # fmt: skip
    """A teacher that is asked by `answers(obs)`, each of its answers checked."""
    shape = shown(spec)

    def q_values(obs: np.ndarray) -> Float[np.ndarray, "N A"]:
        given = answers(obs.reshape(len(obs), *shape))
        return checked(given, len(obs), spec, output, who)

    return HostPolicy(q_values, spec, facts, HEADS[output], model)


def checked(
    given: np.ndarray, count: int, spec: EnvSpec, output: str, who: str
) -> Float[np.ndarray, "N A"]:
    """Answers to `count` states as f32[N A]; RequestError in one line if they are none.

    An action becomes the logit `ACTION_LOGIT`, those not taken 0.
    """
    takes = output == "actions"
    expected = (count,) if takes else (count, spec.num_actions)
    kinds, called = ("iu", "whole numbers") if takes else ("f", "floating-point numbers")
    found = given.reshape(count) if takes and given.shape == (count, 1) else given
    if found.shape != expected:
        raise RequestError(
            f"{who} gives {output} {list(given.shape)} for {count} states: "
            f"allowed: {list(expected)}, {spec.name} has {spec.num_actions} actions"
        )
    if found.dtype.kind not in kinds:
        raise RequestError(f"{who} gives {output} of {found.dtype}: allowed: {called}")
    if not takes:
        with np.errstate(over="ignore"):
            found = found.astype(np.float32)
        if not np.isfinite(found).all():
            raise RequestError(f"{who} gives {output} that are not finite")
        return found
    index = found.astype(np.int64) - spec.first_action
    if not ((index >= 0) & (index < spec.num_actions)).all():
        odd = int(found[(index < 0) | (index >= spec.num_actions)][0])
        last = spec.first_action + spec.num_actions - 1
        raise RequestError(f"{who} gives action {odd}: allowed: {spec.first_action} to {last}")
    return ACTION_LOGIT * np.eye(spec.num_actions, dtype=np.float32)[index]
