"""Shapes are enforced while testing, as annotations state them: the hook of `conftest.py`."""

import importlib
import inspect
from pathlib import Path

import jax.numpy as jnp
import jax.random as jr
import pytest
from conftest import ROOMS
from jaxtyping import TypeCheckError

import rtpd
from rtpd.agents.acting import epsilon_greedy
from rtpd.learning.teachers.pqn import lambda_returns

SOURCE = Path(rtpd.__file__).parent
ANNOTATED = sorted(
    ".".join(("rtpd", *path.relative_to(SOURCE).with_suffix("").parts)).removesuffix(".__init__")
    for path in SOURCE.rglob("*.py")
    if "from jaxtyping import" in path.read_text()
)
CHECKED = [name for name in ANNOTATED if name.startswith(tuple(f"rtpd.{room}" for room in ROOMS))]


def test_an_argument_of_another_rank_is_refused():
    q, key = jnp.zeros((2, 3)), jr.key(0)
    assert epsilon_greedy(q, key, 0.0).shape == (2,)
    with pytest.raises(TypeCheckError, match="parameter 'q'"):
        epsilon_greedy(q[0], key, 0.0)


def test_sizes_of_one_name_are_equal():
    reward, no, value = jnp.zeros(3), jnp.zeros(4, bool), jnp.zeros(4)
    lambda_returns(reward, no[1:], no, value, gamma=0.9, lam=0.5)
    with pytest.raises(TypeCheckError, match="parameter 'value'"):
        lambda_returns(reward, no[1:], no, value[1:], gamma=0.9, lam=0.5)


@pytest.mark.parametrize("name", CHECKED)
def test_every_module_with_shapes_is_checked(name):
    loader = inspect.getmodule(type(importlib.import_module(name).__loader__))
    assert loader.__name__.startswith("jaxtyping")
