"""Teachers outside of JAX: asked once a frame, followed, resumed, and refused in one line."""

import shutil
from dataclasses import replace
from pathlib import Path

import jax.random as jr
import numpy as np
import pytest
from rich.console import Console

from rtpd import envs
from rtpd.agents import store
from rtpd.agents.evaluate import evaluate
from rtpd.agents.formats import host
from rtpd.cli.main import main
from rtpd.config.loading import load_config
from rtpd.config.settings import (
    EvaluationConfig,
    OptimizerConfig,
    ReplayConfig,
    StudentConfig,
)
from rtpd.errors import CheckpointError, ConfigError, RequestError, RunError
from rtpd.learning.update import Learner
from rtpd.report import report
from rtpd.storage.run_folder import Run
from rtpd.training.collector import Collector
from rtpd.training.distill import distill
from rtpd.training.monitor import Plain
from rtpd.training.progress import start_lines
from rtpd.training.snapshots import neutral
from rtpd.training.train import resume

pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.xdist_group("host teachers")
DATA = Path(__file__).parents[1] / "data"
LOGITS, VALUES = DATA / "onnx-cartpole-logits.onnx", DATA / "onnx-pong-q.onnx"
SETTINGS = replace(
    load_config("distill"),
    env="gym/CartPole-v1",
    students=("mlp8:kl",),
    steps=640,
    log_steps=320,
    checkpoint_steps=480,
    replay=ReplayConfig(capacity=640, warmup_steps=320),
    student=StudentConfig(optimizer=OptimizerConfig(learning_rate=2e-2)),
    evaluation=EvaluationConfig(period_steps=0, episodes=1, final_episodes=1),
)


DRIVEN = replace(SETTINGS, actors="teacher=6,mlp8=2")


class Balance:
    """Leans against the pole's fall; counts what it is asked, and forgets nothing."""

    def __init__(self):
        self.asked = []

    def __call__(self, obs):
        self.asked.append(obs.copy())
        lean = obs[:, 2] + obs[:, 3]
        return np.stack([-lean, lean], axis=1)


def agents(run):
    return {
        p.name: p.read_bytes() for p in sorted((run / "agents").iterdir()) if p.suffix != ".json"
    }


def last(run):
    return [r for r in Run.open(run).records() if r["kind"] == "train"][-1]


@pytest.fixture(scope="module")
def of_onnx(tmp_path_factory):
    """A run of the ONNX teacher; nobody may change it."""
    path = tmp_path_factory.mktemp("runs") / "onnx"
    return distill(LOGITS, SETTINGS, out=path), path


@pytest.fixture(scope="module")
def of_function(tmp_path_factory):
    """A run of a function, and the function; nobody may change them."""
    path, teacher = tmp_path_factory.mktemp("runs") / "function", Balance()
    summary = distill(teacher, DRIVEN, teacher_output="q", out=path)
    return summary, path, teacher


def test_an_onnx_file_teaches_and_its_run_keeps_it(of_onnx):
    summary, run = of_onnx
    assert summary["agents"]["teacher"]["mean"] == 500
    assert summary["agents"]["teacher"]["parameters"] == 1_282
    manifest = Run.open(run).manifest
    assert manifest["distilled_from"] == str(LOGITS)
    assert manifest["config"]["student"]["targets"] == "stored"
    assert set(last(run)["teacher"]) == {"return"}, "it has no Q-values"
    kept, obs = store.load_any(run / "agents" / "teacher.onnx"), np.load(LOGITS.with_suffix(".npz"))
    np.testing.assert_allclose(kept.q_values(obs["obs"][:, None]), obs["answer"], atol=1e-5)
    assert last(run)["students"]["mlp8"]["agreement"] > 0.7


def test_a_function_is_asked_once_about_each_frame_that_is_played(of_function):
    """Whoever drives an env: at each start, and each step; and once before there is a run."""
    _, run, teacher = of_function
    played = [obs for obs in teacher.asked if len(obs) == SETTINGS.num_envs]
    restarts = 2  # the beginning, and the checkpoint at 480
    assert len(played) == SETTINGS.steps // SETTINGS.num_envs + restarts
    assert [len(obs) for obs in teacher.asked[:2]] == [2, SETTINGS.num_envs]
    assert len(np.unique(np.concatenate(played), axis=0)) > 0.95 * len(np.concatenate(played))
    assert set(last(run)["teacher"]) == {"return", "q"}
    assert "parameters" not in Run.open(run).manifest["agents"]["teacher"]
    assert last(run)["students"]["mlp8"]["agreement"] > 0.7
    assert Run.open(run).agents == ("mlp8",), "a function is not kept"


def test_the_students_of_a_function_are_evaluated_without_it(of_function, capsys):
    """A share of a teacher whose size nobody knows is none."""
    run = of_function[1]
    row = evaluate(run, episodes=1)["agents"]["mlp8"]
    assert row["share"] is None and row["parameters"] > 0
    assert main(["evaluate", str(run), "--episodes", "1"]) == 0
    said = capsys.readouterr().out
    assert "mlp8" in said and f"teacher: {Balance.__module__}.Balance" in said
    with pytest.raises(RunError, match="agent 'teacher' has not been saved: there is mlp8"):
        evaluate(run, agents=("teacher",), episodes=1)


def test_all_that_is_told_of_a_run_says_which_function_or_file_taught(
    of_onnx, of_function, tmp_path, capsys
):
    for (summary, run, *_), name in ((of_onnx, str(LOGITS)), (of_function, "Balance")):
        assert summary["distilled_from"].endswith(name)
        info = Run.open(run).manifest | {"env": "x", "run": "r", "teacher": "frozen"}
        (_, first, teacher, *_) = start_lines(info)
        assert name in first
        assert ("of unknown size" in teacher) == (run == of_function[1])
        Plain(Console(width=200)).finish(summary)
        assert name in capsys.readouterr().out
    written = report([of_function[1], of_onnx[1]], tmp_path / "r.html", clip=False)
    said = written.markdown.read_text()
    assert "Teachers of two stages that were given: " in said
    assert "Balance" in said and str(LOGITS) in said
    (row,) = (
        line
        for line in said.split("\n")
        if line.startswith("| teacher (two") and "function" in line
    )
    assert row.count("| 0 |") == 1, "the seed, and no parameters"


@pytest.mark.parametrize("kind", ["onnx", "function"])
def test_a_resumed_run_equals_one_that_was_never_stopped(kind, of_onnx, of_function, tmp_path):
    whole = of_onnx[1] if kind == "onnx" else of_function[1]
    teacher = LOGITS if kind == "onnx" else Balance()
    output = None if kind == "onnx" else "q"
    part = replace(SETTINGS if kind == "onnx" else DRIVEN, steps=480)
    distill(teacher, part, teacher_output=output, out=tmp_path / "run")
    resume(tmp_path / "run", steps=640, teacher=None if kind == "onnx" else Balance())
    assert agents(tmp_path / "run") == agents(whole)


def test_a_run_goes_on_with_its_own_teacher_alone(of_onnx, of_function):
    with pytest.raises(RunError, match=r"distils .*Balance, which is needed again: rtpd\.resume"):
        resume(of_function[1], steps=800)
    with pytest.raises(RunError, match="has a teacher of its own: a function is not needed"):
        resume(of_onnx[1], steps=800, teacher=Balance())


def test_another_file_in_the_place_of_the_teacher_is_noticed(of_onnx, tmp_path):
    run = tmp_path / "run"
    (run / "agents").mkdir(parents=True)
    for name in ("manifest.json", "agents/teacher.json"):
        (run / name).write_bytes((of_onnx[1] / name).read_bytes())
    (run / "agents" / "teacher.onnx").write_bytes(VALUES.read_bytes())
    with pytest.raises(CheckpointError, match="damaged: the sha256 differs"):
        resume(run, steps=800)


def test_a_student_of_atari_frames_follows_an_onnx_file(tmp_path, capsys):
    flags = ["--teacher-output", "q", "--students", "net0.1:kl", "--steps", "320", "--quiet"]
    flags += ["--replay.warmup-steps", "160", "--replay.capacity", "320", "--num-envs", "4"]
    flags += ["--evaluation.period-steps", "0", "--evaluation.final-episodes", "1"]
    flags += ["--environment.max-episode-frames", "400"]
    assert main(["distill", str(VALUES), "pong", *flags, "--out", str(tmp_path / "run")]) == 0
    manifest = Run.open(tmp_path / "run").manifest
    assert manifest["agents"]["teacher"]["parameters"] == 6_795
    assert last(tmp_path / "run")["students"]["net0.1"]["loss"] >= 0
    assert main(["evaluate", str(tmp_path / "run"), "--episodes", "1", "--json"]) == 0
    assert '"teacher"' in capsys.readouterr().out


def test_bad_requests_are_refused_in_one_line_and_nothing_is_written(tmp_path):
    no_game = replace(SETTINGS, env="")
    fresh = replace(SETTINGS, students=("mlp8:kl:targets=fresh",))
    cases = [
        (LOGITS, no_game, {}, "does not say what it plays: rtpd distill .* GAME"),
        (Balance(), no_game, {"teacher_output": "q"}, r"does not say what it plays: env='GAME'"),
        (Balance(), SETTINGS, {}, "what does the function answer"),
        (Balance(), SETTINGS, {"teacher_output": "q", "teacher_scale": 2}, "are for files"),
        (LOGITS, fresh, {}, "asked once a frame: allowed: targets=stored"),
        (LOGITS, replace(SETTINGS, students=("mlp8:mse",)), {}, "has a policy alone"),
        (lambda obs: obs * np.nan, SETTINGS, {"teacher_output": "q"}, r"gives q \[2, 4\] for 2"),
        (DATA / "sb3-cartpole-dqn.zip", SETTINGS, {"teacher_output": "q"}, "this one says itself"),
        ("zoo:pong/net1.7", no_game, {"teacher_output": "q"}, "says itself what it sees"),
        (LOGITS, SETTINGS, {"teacher_normalize": DATA / "x.npz"}, "there is no file"),
        (LOGITS, replace(SETTINGS, env="pong"), {}, r"it reads \[4\], ale/pong shows"),
    ]
    for teacher, settings, more, said in cases:
        with pytest.raises(RequestError, match=said) as error:
            distill(teacher, settings, out=tmp_path / "run", **more)
        assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_an_answer_that_is_none_ends_a_run_in_one_line(tmp_path):
    teacher = Balance()

    def fails(obs):
        answer = teacher(obs)
        return answer * np.nan if len(teacher.asked) > 20 else answer

    with pytest.raises(RequestError, match="gives q that are not finite"):
        distill(fails, SETTINGS, teacher_output="q", out=tmp_path / "run")
    about = Run.open(tmp_path / "run").about
    assert about.status == "failed" and "not finite" in about.failure


def test_a_function_that_is_refused_leaves_a_finished_run_finished(of_function, tmp_path):
    shutil.copytree(of_function[1], tmp_path / "run")
    before = Run.open(tmp_path / "run").manifest
    with pytest.raises(RequestError, match="has 2 actions"):
        resume(tmp_path / "run", steps=9_000, teacher=lambda obs: np.zeros((len(obs), 3)))
    assert Run.open(tmp_path / "run").manifest == before


def test_env_is_a_setting_too(monkeypatch):
    begun = []
    monkeypatch.setattr(
        "rtpd.training.train.begin", lambda settings, *_, **__: begun.append(settings)
    )
    distill(Balance(), env="gym/CartPole-v1", teacher_output="logits")
    assert begun[0].env == "gym/CartPole-v1"
    with pytest.raises(ConfigError, match="unknown --teacher-output"):
        distill(Balance(), env="gym/CartPole-v1", teacher_output="x")


def test_answers_are_kept_beside_the_frames_that_they_are_about():
    settings = replace(DRIVEN, student=replace(SETTINGS.student, targets="stored"))
    env = envs.make(settings.env, settings.num_envs, settings.environment)
    policy = host.of_function(Balance(), env.spec, "q")
    learner = Learner(settings, {"game": env.spec}, {"game": policy})
    collector = Collector(settings, env, learner.teachers["game"], learner.action_slices["game"])
    state = learner.init(jr.key(0), {"game": neutral(env.spec)})
    collector.restart(0)
    for step in range(30):
        collector.choose(state.teachers["game"], state.students, step, 0.05)
        collector.send()
        collector.receive()
        collector.store()
    env.close()
    frames, q = np.asarray(collector.replay.frames[:30]), np.asarray(collector.replay.q[:30])
    expected = Balance()(frames.reshape(-1, 4)).reshape(q.shape)
    np.testing.assert_array_equal(q, expected)
    greedy = q.argmax(2) == np.asarray(collector.replay.action[:30])
    assert greedy[:, :6].mean() > 0.9 > greedy[:, 6:].mean(), "the student drives two envs"
