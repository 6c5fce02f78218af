"""A student's text: options of its loss, whose answers count; see also training/test_validation."""

from dataclasses import replace

import jax.numpy as jnp
import pytest

from rtpd.config.settings import Config, StudentConfig, TeacherConfig
from rtpd.errors import ConfigError
from rtpd.learning.distillation import LOSSES, DistillationLoss
from rtpd.learning.student_spec import parse_students


@pytest.fixture(autouse=True)
def huber(monkeypatch):
    def loss(student_q, teacher_q, temperature, delta, floor):
        return jnp.mean(jnp.minimum(jnp.abs(student_q - teacher_q), delta)) + floor

    entry = DistillationLoss(loss, options={"delta": 1.0, "floor": 0.0})
    monkeypatch.setitem(LOSSES, "clipped", entry)


def students(*texts):
    return parse_students(Config(students=texts))


def test_a_loss_has_its_own_options_beside_the_settings_of_all():
    plain, changed = students("mlp8:clipped", "mlp8:clipped:delta=2:updates=3:floor=1e-3")
    assert dict(plain.options) == {"delta": 1.0, "floor": 0.0}
    assert dict(changed.options) == {"delta": 2.0, "floor": 0.001}
    assert (plain.settings.updates, changed.settings.updates) == (1, 3)
    assert changed.name == "mlp8-delta-2-updates-3-floor-1e-3"
    (again,) = students(changed.text)
    assert again.options == changed.options


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("mlp8:clipped:delta=wide", ("mlp8:clipped:delta=wide", "delta", "wide", "a number")),
        ("mlp8:clipped:delta=inf", ("delta", "inf", "a number")),
        ("mlp8:kl:delta=2", ("mlp8:kl:delta=2", "delta")),
    ],
)
def test_an_option_that_is_no_number_or_not_of_this_loss_is_refused(text, pieces):
    with pytest.raises(ConfigError) as error:
        students(text)
    assert all(piece in str(error.value) for piece in pieces) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("teacher", "follow", "targets"),
    [
        ({}, "latest", "stored"),
        ({}, "best", "fresh"),
        ({"ema_decay": 0.9}, "latest", "fresh"),
        ({"ema_decay": 0.9}, "ema", "stored"),
        ({"algorithm": "frozen"}, "best", "stored"),
    ],
)
def test_auto_targets_are_stored_where_the_weights_that_act_are_followed(teacher, follow, targets):
    asked = replace(Config(), students=("net1.7:kl:targets=auto", "net0.5:kl:targets=fresh"))
    asked = replace(asked, teacher=TeacherConfig(**teacher), student=StudentConfig(follow=follow))
    assert [s.settings.targets for s in parse_students(asked)] == [targets, "fresh"]
