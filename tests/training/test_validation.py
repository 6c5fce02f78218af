"""What texts mean, that they can be read back, and that every number has its range."""

import math
from dataclasses import fields, is_dataclass, replace
from typing import get_args, get_type_hints

import pytest

from rtpd.config.loading import flat, from_dict, load_config, presets, to_dict
from rtpd.config.settings import (
    Config,
    ConsolidationConfig,
    EvaluationConfig,
    ExplorationConfig,
    OptimizerConfig,
    PPOConfig,
    ReplayConfig,
    RolloutConfig,
    StudentConfig,
    TeacherConfig,
)
from rtpd.errors import ConfigError, EnvError
from rtpd.learning.student_spec import parse_students
from rtpd.ranges import Range
from rtpd.training.unused import check_used, flag, unused
from rtpd.training.validation import resolve, validate

TEXTS = {
    "net1.7": "net1.7-kl",
    "net1.7:kl:int8": "net1.7-kl-int8",
    "net1.7:mse": "net1.7-mse",
    "net0.5::temperature=0.1": "net0.5-temperature-0.1",
    "net0.5:kl:optimizer.learning_rate=1e-3:updates=2": "net0.5-learning-rate-1e-3-updates-2",
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
    text = "net0.5:kl:optimizer.learning_rate=1e-4:follow=best:updates=3"
    shared = StudentConfig(temperature=0.5)
    found, other = parse_students(Config(students=(text, "net1.7"), student=shared))
    assert other.settings == shared
    rate = replace(shared.optimizer, learning_rate=1e-4)
    assert found.settings == replace(shared, follow="best", updates=3, optimizer=rate)


def numbers(table, path=()):
    """The path and the ranges (one is right) of every number of a table and of those in it."""
    plain = get_type_hints(table)
    for field in fields(table):
        here = (*path, field.name)
        if is_dataclass(field.type):
            yield from numbers(field.type, here)
        elif plain[field.name] in (int, float):
            yield here, [note for note in get_args(field.type) if isinstance(note, Range)]


NUMBERS = dict(numbers(Config))


def changed(settings, path, value):
    """The settings with one number replaced, as Python code would."""
    name, *rest = path
    inner = changed(getattr(settings, name), rest, value) if rest else value
    return replace(settings, **{name: inner})


def test_every_number_has_one_range():
    assert len(NUMBERS) > 45
    assert not [path for path, ranges in NUMBERS.items() if len(ranges) != 1]


@pytest.mark.parametrize("path", NUMBERS, ids=".".join)
def test_what_is_outside_of_a_range_is_refused_in_one_line_with_the_flag(path):
    (limits,) = NUMBERS[path]
    step = 1 if isinstance(limits.most, int) else limits.most
    for value in (limits.least - 1, limits.most + step, math.nan, math.inf, -math.inf):
        with pytest.raises((ConfigError, EnvError)) as caught:
            validate(changed(Config(), path, value))
        said = str(caught.value)
        name = path[-1] if path[0] == "environment" else f"--{'.'.join(path).replace('_', '-')}"
        assert said.startswith(name) and f" {value}: allowed: " in said
        assert ("a finite number" in said) == math.isinf(value)


def test_both_ends_of_a_range_are_in_it_and_what_is_told_of_it():
    both, count, share = Range(1, 1000), Range(0, 2**31 - 1), Range(0, 1, below=True)
    assert all(n in both for n in (1, 500, 1000)) and not any(n in both for n in (0, 1001))
    assert 0 in share and 0.999 in share and 1 not in share and math.nan not in share
    told = [both.allowed(0), count.allowed(-1), count.allowed(2**31), share.allowed(1)]
    assert told == ["1 to 1,000", "0 or more", "0 to 2,147,483,647", "0 to below 1"]


def test_a_number_out_of_range_in_a_file_may_be_mended_by_what_lies_above_it():
    settings = from_dict({"teacher": {"n_step": 1000}})
    with pytest.raises(ConfigError, match=r"^--teacher.n-step 1000: allowed: 1 to 100$"):
        validate(settings)
    validate(replace(settings, teacher=replace(settings.teacher, n_step=3)))


@pytest.mark.parametrize(
    "own", ["optimizer.eps=-1", "updates=0", "temperature=inf", "td_weight=nan"]
)
def test_a_student_s_own_numbers_are_checked(own):
    key, _, value = own.partition("=")
    flag = f"--student.{key.replace('_', '-')}"
    with pytest.raises(
        ConfigError, match=rf"^student 'mlp8:kl:{own}': {flag} {value}.*: allowed: "
    ):
        validate(Config(env="probe/chain", students=(f"mlp8:kl:{own}",)))


PQN, FROZEN, PPO = TeacherConfig("pqn"), TeacherConfig("frozen"), TeacherConfig("ppo")
PRIORITISED, RESTING = ReplayConfig(priority=0.5), ConsolidationConfig(share=0.1)
BEST = ("mlp8:kl:follow=best",)
TOGETHER = {
    "--replay.priority 0.5: teacher 'pqn'": {"teacher": PQN, "replay": PRIORITISED},
    "--replay.priority 0.5: a frozen": {"teacher": FROZEN, "replay": PRIORITISED},
    "--teacher.ppo.clip 0.2: allowed: with --teacher ppo, not with 'pqn'": {
        "teacher": replace(PQN, ppo=PPOConfig(clip=0.2)),
    },
    "--exploration.end 0.2: allowed: with --teacher dqn, double-dqn, munchausen, c51, qr-dqn": {
        "teacher": PPO, "exploration": ExplorationConfig(end=0.2),
    },
    "--teacher.n-step 5: allowed: with --teacher dqn": {"teacher": replace(PPO, n_step=5)},
    "--teacher.loss mse: allowed: with --teacher dqn, double-dqn, munchausen, qr-dqn, pqn, not": {
        "teacher": TeacherConfig("c51", loss="mse"),
    },
    "--rollout.epochs 4: allowed: with --teacher pqn, ppo, not with 'double-dqn'": {
        "rollout": RolloutConfig(epochs=4),
    },
    "--teacher.optimizer.eps 1: a frozen teacher does not use it": {
        "teacher": replace(FROZEN, optimizer=OptimizerConfig(eps=1.0)),
    },
    "--teacher.no-clip-rewards: a frozen teacher": {
        "teacher": replace(FROZEN, clip_rewards=False),
    },
    "--student.temperature 0.5: students follow the logits of a policy at --student.policy-temp": {
        "teacher": PPO, "student": StudentConfig(temperature=0.5),
    },
    "--student.policy-temperature 0.5: students follow Q-values at --student.temperature": {
        "teacher": PQN, "student": StudentConfig(policy_temperature=0.5),
    },
    "student 'mlp8:kl:temperature=0.5': temperature=0.5: teacher 'ppo' has a policy alone": {
        "teacher": PPO, "students": ("mlp8:kl:temperature=0.5",),
    },
    "student 'mlp8:kl:policy_temperature=2': policy_temperature=2: teacher 'pqn' has Q-values": {
        "teacher": PQN, "students": ("mlp8:kl:policy_temperature=2",),
    },
    "--teacher.dueling: teacher 'ppo'": {"teacher": replace(PPO, dueling=True)},
    "--teacher.noisy: teacher 'ppo'": {"teacher": replace(PPO, noisy=True)},
    "--actors teacher=6,mlp8=2: teacher 'ppo'": {"teacher": PPO, "actors": "teacher=6,mlp8=2"},
    "student 'mlp8:mse': mse follows Q-values, and teacher 'ppo' has a policy alone": {
        "teacher": PPO, "students": ("mlp8:mse",),
    },
    "--consolidate 0.1: a frozen": {"teacher": FROZEN, "consolidation": RESTING},
    "--rollout.minibatch-size 512 is above the 32 steps of 8 envs": {
        "teacher": PQN, "rollout": RolloutConfig(steps=32, minibatch_size=512),
    },
    "--replay.capacity 100 is below 256": {
        "replay": ReplayConfig(capacity=100, warmup_steps=300, batch_size=256),
    },
    "--replay.warmup-steps 100 is below 256": {
        "replay": ReplayConfig(warmup_steps=100, batch_size=256),
    },
    "student 'mlp8:kl:follow=ema': to follow ema": {"students": ("mlp8:kl:follow=ema",)},
    "student 'mlp8:kl:follow=best': to follow best needs --evaluation": {
        "students": BEST, "evaluation": EvaluationConfig(period_steps=0),
    },
    "student 'mlp8:kl:follow=best:targets=stored': stored targets are those of the teacher": {
        "students": (BEST[0] + ":targets=stored",),
    },
    "student 'mlp8:kl:follow=best': targets of the consolidation": {
        "students": BEST, "consolidation": RESTING,
    },
    "student 'mlp8:kl-td': a student of several games": {
        "env": "probe/chain+probe/swap", "students": ("mlp8:kl-td",),
    },
    "student 'mlp8:kl:optimizer.learning_rate=1': --on-divergence rollback": {
        "students": ("mlp8:kl:optimizer.learning_rate=1",), "on_divergence": "rollback",
    },
}  # fmt: skip


@pytest.mark.parametrize("said", TOGETHER)
def test_settings_that_do_not_go_together_are_refused_in_one_line(said):
    plain = {"env": "probe/chain", "num_envs": 8, "students": ("mlp8:kl",)}
    validate(Config(**plain))
    settings = Config(**(plain | TOGETHER[said]))
    with pytest.raises(ConfigError) as caught:
        validate(settings)
    assert str(caught.value).startswith(said) and "\n" not in str(caught.value)


ODD = {int: 7, float: 0.7, bool: True, str: "mlp8"}
KINDS = ["double-dqn", "c51", "pqn", "ppo", "frozen"]
EXPLORES = {f"exploration.{f.name}" for f in fields(ExplorationConfig)}


@pytest.mark.parametrize("teacher", KINDS)
def test_the_user_s_own_settings_are_refused_where_they_mean_nothing_and_a_preset_s_are_not(
    teacher,
):
    plain = Config(teacher=TeacherConfig(teacher), students=("mlp8:kl",))
    found = unused(plain)
    assert EXPLORES <= found if teacher == "ppo" else EXPLORES.isdisjoint(found)
    assert ("rollout.epochs" in found) == (teacher not in ("pqn", "ppo"))
    assert ("teacher.n_step" in found) == (teacher in ("pqn", "ppo", "frozen"))
    own = replace(plain, students=("mlp8:kl-td",))  # a TD error of the student's own
    assert "teacher.target_rate" not in unused(own)
    assert ("teacher.n_step" in unused(own)) == (teacher in ("pqn", "ppo"))
    table = flat(to_dict(plain))
    for key in found:
        odd = "mse" if key == "teacher.loss" else ODD.get(type(table[key]))
        odd = not table[key] if isinstance(table[key], bool) else odd
        odd = {"optimizer.name": "radam", "temperature_unit": "gap"}.get(key.partition(".")[2], odd)
        asked = changed(plain, key.split("."), odd)
        with pytest.raises(ConfigError, match=f"^{flag(key.rpartition('.')[0])}"):
            check_used(asked, plain)
        check_used(asked, asked)
        validate(asked, None)  # of a run that goes on


@pytest.mark.parametrize("preset", presets())
def test_no_preset_sets_what_its_own_teacher_does_not_use(preset):
    check_used(load_config(preset))


def test_a_teacher_that_learns_a_policy_samples_it():
    settings = Config(teacher=PPO)
    found = resolve(settings, is_image=True)
    assert found.exploration == ExplorationConfig(0.0, 0.0, 0)
    assert resolve(found, is_image=True) == found
    other = resolve(replace(settings, teacher=PQN), is_image=True)
    assert (other.student, other.exploration) == (settings.student, settings.exploration)
