"""Shapes are enforced while testing, as annotations state them: the hook of `conftest.py`."""

import importlib
from pathlib import Path

import jax.numpy as jnp
import jax.random as jr
import pytest
from jaxtyping import TypeCheckError

import rtpd
from rtpd.agents.acting import epsilon_greedy
from rtpd.learning.teachers.pqn import lambda_returns


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


def test_every_module_with_shapes_is_checked():
    """None was imported before the hook was there."""
    shaped = [p for p in Path(rtpd.__file__).parent.rglob("*.py") if "jaxtyping" in p.read_text()]
    assert len(shaped) > 30
    for path in shaped:
        parts = path.relative_to(Path(rtpd.__file__).parents[1]).with_suffix("").parts
        loader = type(importlib.import_module(".".join(parts)).__loader__)
        assert loader.__module__.startswith("jaxtyping"), path
