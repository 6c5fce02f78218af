"""What earlier versions wrote is read under today's names, and today's stays as it is."""

import pytest

from rtpd.config.loading import from_dict, to_dict
from rtpd.config.settings import Config
from rtpd.errors import ConfigError
from rtpd.storage.migration import migrated

OLD = {
    "env": "ale/pong",
    "teacher": "pqn",
    "students": ["net1.7:kl:average_decay=0.9", "net4:kl:average-decay=0.5"],
    "td": {"net": "nature", "average_decay": 0.99, "n_step": 2},
    "student": {"average_decay": 0.999, "temperature": 0.1},
    "rollout": {"trace": 0.5, "steps": 16},
    "explore": {"end": 0.02},
}


def test_old_settings_are_those_of_today_under_other_names():
    found = from_dict(migrated(OLD))
    assert (found.teacher.algorithm, found.teacher.net, found.teacher.n_step) == (
        "pqn",
        "nature",
        2,
    )
    assert (found.teacher.ema_decay, found.student.ema_decay) == (0.99, 0.999)
    assert (found.rollout.td_lambda, found.rollout.steps) == (0.5, 16)
    assert found.exploration.end == 0.02
    assert found.students == ("net1.7:kl:ema_decay=0.9", "net4:kl:ema-decay=0.5")


@pytest.mark.parametrize(("teacher", "followed_at"), [("ppo", (0.01, 0.5)), ("pqn", (0.5, 1.0))])
def test_the_logits_of_ppo_had_the_temperature_of_q_values(teacher, followed_at):
    old = {"teacher": {"algorithm": teacher}, "student": {"temperature": 0.5}}
    found = from_dict(migrated(old)).student
    assert (found.temperature, found.policy_temperature) == followed_at
    assert migrated(migrated(old)) == migrated(old)


def test_todays_settings_stay_as_they_are():
    today = to_dict(Config(students=("net1.7:kl:ema_decay=0.9",)))
    assert migrated(today) == today
    assert migrated(migrated(OLD)) == migrated(OLD)


@pytest.mark.parametrize(
    "odd", [{"teacher": 3, "td": []}, {"td": None, "rollout": 5}, {"students": "net1.7"}]
)
def test_what_cannot_be_understood_is_left_to_whoever_checks_it(odd):
    with pytest.raises(ConfigError):
        from_dict(migrated(odd))
