"""What texts mean, and that they can be read back."""

from dataclasses import replace

import pytest

from rtpd.config.settings import Config, StudentConfig
from rtpd.learning.student_spec import parse_students

TEXTS = {
    "net1.7": "net1.7-kl",
    "net1.7:kl:int8": "net1.7-kl-int8",
    "net1.7:mse": "net1.7-mse",
    "net0.5::temperature=0.1": "net0.5-temperature-0.1",
    "net0.5:kl:optimizer.learning-rate=1e-3:updates=2": "net0.5-learning-rate-1e-3-updates-2",
    "net0.5:kl:int8:temperature_unit=gap": "net0.5-int8-temperature-unit-gap",
}


SHORT = ["net1.7-kl", "net1.7-kl-int8", "net1.7-mse", "net0.5", "net0.5#2", "net0.5-int8"]


@pytest.mark.parametrize("read_again", [False, True])
def test_students_are_named_after_what_tells_them_apart(read_again):
    settings = Config(students=tuple(TEXTS))
    if read_again:
        settings = replace(settings, students=tuple(s.text for s in parse_students(settings)))
    assert [student.name for student in parse_students(settings)] == list(TEXTS.values())
    assert [student.short for student in parse_students(settings)] == SHORT


def test_a_student_has_the_settings_of_all_and_its_own_over_them():
    text = "net0.5:kl:optimizer.learning-rate=1e-4:follow=best:updates=3"
    shared = StudentConfig(temperature=0.5)
    found, other = parse_students(Config(students=(text, "net1.7"), student=shared))
    assert other.how == shared
    rate = replace(shared.optimizer, learning_rate=1e-4)
    assert found.how == replace(shared, follow="best", updates=3, optimizer=rate)
