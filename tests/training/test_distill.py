"""Two-stage distillation: the teacher stays as it is, its students follow, runs go on."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import equinox as eqx
import jax.numpy as jnp
import pytest

from rtpd.agents.formats import pretrained
from rtpd.agents.store import load_policy, save
from rtpd.cli.main import main
from rtpd.config.loading import load_config
from rtpd.config.settings import (
    EvaluationConfig,
    ExplorationConfig,
    OptimizerConfig,
    ReplayConfig,
    StudentConfig,
    TeacherConfig,
)
from rtpd.errors import CheckpointError, ConfigError, RequestError
from rtpd.networks.heads import Logits
from rtpd.storage.run_folder import Run
from rtpd.training.distill import distill
from rtpd.training.train import resume, train

pytestmark = pytest.mark.xdist_group("distilling")  # its runs are made once, by one worker
DATA = Path(__file__).parents[1] / "data"
PPO = DATA / "sb3-cartpole-ppo.zip"
DQN = DATA / "sb3-cartpole-dqn.zip"
FAST = OptimizerConfig(learning_rate=5e-3)
TRAIN = replace(
    load_config(),
    students=("none",),
    steps=1_000,
    teacher=TeacherConfig(
        "rainbow", net="mlp16-16", optimizer=FAST, target_period_updates=25, dueling=True
    ),
    replay=ReplayConfig(capacity=800, warmup_steps=200),
    exploration=ExplorationConfig(decay_steps=300),
    evaluation=EvaluationConfig(period_steps=0, episodes=2, final_episodes=2),
)
DISTILL = replace(
    load_config("distill"),
    env="",
    students=("mlp8:kl",),
    steps=1_200,
    log_steps=200,
    replay=replace(TRAIN.replay, warmup_steps=400),
    student=StudentConfig(optimizer=FAST),
    evaluation=TRAIN.evaluation,
)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A run whose teacher has several outputs per action; nobody may change it."""
    path = tmp_path_factory.mktemp("runs") / "source"
    train(replace(TRAIN, env="probe/swap"), out=path)
    return path


def agents(run):
    return {p.name: p.read_bytes() for p in sorted((run / "agents").rglob("*.safetensors"))}


def test_students_follow_a_teacher_that_stays_as_it_is(source, tmp_path):
    summary = distill(source, DISTILL, out=tmp_path / "run")
    assert agents(tmp_path / "run")["teacher.safetensors"] == agents(source)["teacher.safetensors"]
    before, after = load_policy(source), load_policy(tmp_path / "run")
    assert after.provenance["step"] == before.provenance["step"] == 1_000
    assert summary["agents"]["teacher"]["net"] == "mlp16-16"
    last = [r for r in Run.open(tmp_path / "run").records() if r["kind"] == "train"][-1]
    assert last["students"]["mlp8"]["agreement"] == 1
    assert set(last["teacher"]) == {"q", "return"}
    assert last["epsilon"] == 0.05
    assert last["updates"] == (1_200 - 400) // 4 + 1
    assert Run.open(tmp_path / "run").manifest["distilled_from"] == str(source)
    assert eqx.tree_equal(after.preprocess, before.preprocess)


def test_an_agents_file_is_a_teacher_too(source, tmp_path):
    teacher = source / "agents" / "teacher.safetensors"
    distill(teacher, replace(DISTILL, steps=600), out=tmp_path / "file")
    distill(source, replace(DISTILL, steps=600), out=tmp_path / "run")
    assert agents(tmp_path / "file") == agents(tmp_path / "run")


def test_an_agent_of_stable_baselines3_teaches_and_keeps_its_own_eyes(tmp_path):
    """It sees raw observations, its students centred and scaled ones."""
    path = DATA / "sb3-cartpole-dqn.zip"
    setting = replace(DISTILL, env="gym/CartPole-v1", steps=4_000)
    distill(path, setting, out=tmp_path / "run")
    teacher, student = (load_policy(tmp_path / "run", name) for name in ("teacher", "mlp8"))
    original = pretrained.load(path, "gym/CartPole-v1")
    assert eqx.tree_equal(teacher.net, original.net)
    assert (
        Run.open(tmp_path / "run").manifest["config"]["teacher"]["net"]
        == (original.provenance["net"])
    )
    assert eqx.tree_equal(teacher.preprocess, original.preprocess)
    assert (teacher.preprocess.scale == 1).all() and (student.preprocess.scale != 1).all()
    last = [r for r in Run.open(tmp_path / "run").records() if r["kind"] == "train"][-1]
    row = last["students"]["mlp8"]
    assert row["agreement"] > max(0.9, row["constant_agreement"])


@pytest.fixture(scope="module")
def of_a_policy(tmp_path_factory):
    """A student of a PPO that balances, its summary and its folder; nobody may change them."""
    path = tmp_path_factory.mktemp("runs") / "ppo"
    setting = replace(DISTILL, env="gym/CartPole-v1", students=("mlp16:kl",), steps=4_000)
    return distill(PPO, setting, out=path), path


def last_record(run):
    return [r for r in Run.open(run).records() if r["kind"] == "train"][-1]


def test_a_student_of_a_policy_without_q_values_plays_as_it_does(of_a_policy):
    """The logits of the PPO are followed as they are, and both hold the pole to the end."""
    summary, run = of_a_policy
    means = {name: row["mean"] for name, row in summary["agents"].items()}
    assert means == {"teacher": 500, "mlp16": 500}
    assert last_record(run)["students"]["mlp16"]["agreement"] > 0.9
    assert set(last_record(run)["teacher"]) == {"return"}, "it has no Q-values"


def test_a_policy_without_q_values_is_known_as_one_when_its_run_goes_on(of_a_policy, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(of_a_policy[1], run)
    assert load_policy(run).head == Logits()
    resume(run, steps=4_400)
    assert load_policy(run).head == Logits()
    assert set(last_record(run)["teacher"]) == {"return"}


@pytest.mark.parametrize(
    ("path", "student", "students", "said"),
    [
        (PPO, {"temperature": 0.5}, (), "--student.temperature 0.5: students follow the logits"),
        (PPO, {"temperature_unit": "gap"}, (), "--student.temperature-unit gap: students follow"),
        (PPO, {}, ("mlp16:kl:temperature=0.5",), "has a policy alone: allowed: policy_temperature"),
        (DQN, {"policy_temperature": 0.5}, (), "--student.policy-temperature 0.5: students follow"),
        (DQN, {}, ("mlp16:kl:policy_temperature=2",), "has Q-values: allowed: temperature"),
    ],
)
def test_temperatures_are_those_of_what_the_teacher_has(path, student, students, said):
    setting = replace(DISTILL, env="gym/CartPole-v1", student=replace(DISTILL.student, **student))
    with pytest.raises(ConfigError, match=re.escape(said)):
        distill(path, replace(setting, students=students or setting.students))


def test_a_resumed_distillation_equals_one_that_was_never_stopped(source, tmp_path):
    whole = replace(DISTILL, steps=800, checkpoint_steps=600)
    distill(source, whole, out=tmp_path / "whole")
    distill(source, replace(whole, steps=600), out=tmp_path / "parts")
    resume(tmp_path / "parts", steps=800)
    assert agents(tmp_path / "parts") == agents(tmp_path / "whole")


def test_a_distillation_does_not_go_on_with_another_teacher(source, tmp_path):
    distill(source, replace(DISTILL, steps=600), out=tmp_path / "run")
    teacher, path = load_policy(tmp_path / "run"), Run.open(tmp_path / "run").agent_path("teacher")
    save(path, eqx.tree_at(lambda p: p.preprocess.scale, teacher, jnp.float32(2)))
    with pytest.raises(CheckpointError, match=f"{path} is not the teacher of this run"):
        resume(tmp_path / "run", steps=800)


def test_the_teachers_of_two_games_are_distilled_into_one_student(tmp_path):
    both = "probe/swap+probe/match"
    train(
        replace(TRAIN, env=both, teacher=replace(TRAIN.teacher, algorithm="double-dqn")),
        out=tmp_path / "source",
    )
    distill(tmp_path / "source", DISTILL, out=tmp_path / "run")
    last = [r for r in Run.open(tmp_path / "run").records() if r["kind"] == "train"][-1]
    assert set(last["students"]) == {"mlp8", "swap/mlp8", "match/mlp8"}
    assert last["students"]["mlp8"]["agreement"] == 1


def test_bad_requests_are_refused_in_one_line_and_nothing_is_written(source, tmp_path):
    ppo = replace(DISTILL, env="gym/CartPole-v1")
    no_q = "follows Q-values, and .* has a policy alone: allowed: kl, reverse-kl, nll"
    cases = {
        (tmp_path / "none", DISTILL): "no run folder",
        (DATA / "sb3-cartpole-dqn.zip", DISTILL): "GAME",
        (DATA / "sb3-cartpole-dqn.zip", replace(DISTILL, env="gym/CartPole-v11")): "CartPole-v1",
        (DATA / "sb3-cartpole-dqn.zip", replace(DISTILL, env="pong")): "observations",
        (source, replace(DISTILL, env="probe/match")): "plays probe/swap",
        (source, replace(DISTILL, replay=replace(DISTILL.replay, priority=0.5))): "--replay.prio",
        (source, replace(DISTILL, teacher=TeacherConfig("pqn"))): "--teacher pqn",
        (source, replace(DISTILL, students=("mlp8:kll",))): "did you mean 'kl'",
        (PPO, replace(ppo, students=("mlp8:kl", "mlp8:mse"))): f"mlp8:mse': mse {no_q}",
        (PPO, replace(ppo, students=("mlp8:kl-td",))): f"mlp8:kl-td': kl-td {no_q}",
        (PPO, replace(ppo, students=("auto:mse",))): f"auto:mse': mse {no_q}",
    }
    for (teacher, settings), piece in cases.items():
        with pytest.raises(RequestError, match=piece) as error:
            distill(teacher, settings, out=tmp_path / "run")
        assert "\n" not in str(error.value)
    with pytest.raises(RequestError, match="rtpd distill"):
        train(
            replace(TRAIN, env="probe/swap", teacher=TeacherConfig("frozen")), out=tmp_path / "run"
        )
    assert not (tmp_path / "run").exists()


def test_the_command_distils_a_run(source, tmp_path, capsys):
    flags = ["--students", "mlp4:mse", "--steps", "500", "--replay.warmup-steps", "400"]
    out = ["--out", str(tmp_path / "run"), "--evaluation.period-steps", "0"]
    assert main(["distill", str(source), *flags, *out]) == 0
    said = capsys.readouterr().out
    for piece in ("preset distill", "the teacher's play", "mlp4", f"rtpd evaluate {tmp_path}"):
        assert piece in said
    assert main(["distill", str(tmp_path / "nothing")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
