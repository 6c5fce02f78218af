"""Whole trainings through the public functions: what they leave behind, and that they go on."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import equinox as eqx
import jax
import numpy as np
import psutil
import pytest
import safetensors.numpy

from rtpd.agents.evaluate import evaluate
from rtpd.agents.store import load_policy
from rtpd.config.settings import (
    Config,
    ConsolidationConfig,
    EvaluationConfig,
    ExplorationConfig,
    OptimizerConfig,
    ReplayConfig,
    RolloutConfig,
    StudentConfig,
    TeacherConfig,
)
from rtpd.errors import ConfigError, RequestError, RunError
from rtpd.learning import replay as ring
from rtpd.storage.run_folder import Run
from rtpd.system import cpu, memory
from rtpd.training.monitor import Monitor
from rtpd.training.train import resume, train
from rtpd.training.trainer import Trainer

SMALL = Config(
    env="gym/CartPole-v1",
    students=("mlp8:kl", "mlp4:mse"),
    steps=600,
    log_steps=100,
    checkpoint_steps=0,
    teacher=TeacherConfig(net="mlp16-16"),
    replay=ReplayConfig(capacity=800, warmup_steps=200),
    exploration=ExplorationConfig(decay_steps=300),
    evaluation=EvaluationConfig(period_steps=300, episodes=2, final_episodes=2),
)


SAVED = replace(SMALL, checkpoint_steps=400)


def agent_bytes(run):
    folder = run / "agents"
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*.safetensors")}


def records(run, kind):
    """Metrics lines of a kind without the wall clock."""
    clock = ("seconds", "steps_per_second")
    found = [r for r in Run.open(run).records() if r["kind"] == kind]
    return [{k: v for k, v in r.items() if k not in clock} for r in found]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run with two checkpoints, and its summary; copy it to change it."""
    path = tmp_path_factory.mktemp("runs") / "cart"
    return path, train(SAVED, out=path)


@pytest.fixture
def path(finished, tmp_path):
    return shutil.copytree(finished[0], tmp_path / "run")


def test_a_run_folder_holds_what_was_asked_and_what_came_of_it(finished):
    path, summary = finished
    manifest = json.loads((path / "manifest.json").read_text())
    assert manifest["status"] == summary["status"] == "finished"
    assert manifest["step"] == summary["step"] == 600
    assert manifest["config"]["students"] == ["mlp8:kl", "mlp4:mse"]
    assert manifest["agents"]["mlp8"]["parameters"] == 4 * 8 + 8 + 8 * 2 + 2
    for key in ("commit", "device", "versions", "started", "ended", "command", "seed", "python"):
        assert key in manifest
    assert manifest["peak_bytes"] >= psutil.Process().memory_info().rss / 2
    assert [r["step"] for r in records(path, "train")] == [104, 200, 304, 400, 504, 600]
    assert [r["step"] for r in records(path, "eval")] == [304, 600]
    last = records(path, "train")[-1]
    assert last["frames"] == 600
    assert last["updates"] == (600 - 200) // 4 + 1
    assert set(last["students"]["mlp8"]) == {
        "loss", "advantage_kept", "constant_advantage_kept", "agreement", "constant_agreement",
        "dead", "spread",
    }  # fmt: skip
    for name in ("teacher", "mlp8", "mlp4"):
        assert summary["agents"][name]["episodes"] == 2


def test_saved_agents_act(finished):
    path, _ = finished
    policy = load_policy(path, "mlp8")
    q = policy(np.zeros((1, 4), np.float32))
    assert q.shape == (2,)
    assert policy.provenance["step"] == 600
    assert (policy.preprocess.scale != 1).all()  # estimated, not the stand-in


def test_the_same_seed_gives_the_same_run_and_another_seed_another(finished, tmp_path):
    path, _ = finished
    train(SAVED, out=tmp_path / "again")
    assert agent_bytes(tmp_path / "again") == agent_bytes(path)
    assert records(tmp_path / "again", "train") == records(path, "train")
    train(replace(SAVED, seed=1), out=tmp_path / "other")
    assert agent_bytes(tmp_path / "other") != agent_bytes(path)


@pytest.mark.parametrize(
    ("teacher", "env"),
    [(name, SMALL.env) for name in ("double-dqn", "pqn", "ppo", "rainbow")]
    + [("double-dqn", "probe/match+probe/swap"), ("pqn", "probe/pixels")],
)
def test_a_resumed_run_equals_one_that_was_never_stopped(tmp_path, teacher, env, request):
    kind = replace(SMALL.teacher, algorithm=teacher)
    longer = replace(SMALL, steps=800, checkpoint_steps=400, teacher=kind, env=env)
    if longer.teacher != SMALL.teacher or env != SMALL.env:  # programs of their own: small ones
        longer = replace(longer, students=("mlp8:kl",))
    if teacher == "rainbow":  # importance weights that rise until --steps would differ
        memory = replace(SMALL.replay, priority=0.5, importance=1.0)
        kind = replace(kind, noisy=True, dueling=True)
        longer = replace(longer, replay=memory, teacher=kind)
    if env == "probe/pixels":
        request.getfixturevalue("optimised")
        students = ("conv2-2-2x4:kl:updates=3:targets=stored",)
        kind = replace(kind, net="conv4-4-4x8")
        longer = replace(longer, students=students, teacher=kind, compute="bfloat16")
    longer = replace(longer, rollout=RolloutConfig(steps=8, minibatch_size=16))
    train(longer, out=tmp_path / "whole")
    train(replace(longer, steps=400), out=tmp_path / "parts")
    resume(tmp_path / "parts", steps=800)
    assert agent_bytes(tmp_path / "parts") == agent_bytes(tmp_path / "whole")
    for kind in ("train", "eval"):
        whole, parts = (records(tmp_path / name, kind) for name in ("whole", "parts"))
        if kind == "eval":  # the shorter run ended with an evaluation of its own
            parts = [r for r in parts if r["step"] != 400]
        assert parts == whole


def test_a_run_that_follows_the_best_teacher_keeps_it_over_a_resume(tmp_path):
    best = replace(SMALL.student, follow="best")
    longer = replace(
        SMALL, steps=1_200, checkpoint_steps=800, student=best, num_envs=8,
        evaluation=EvaluationConfig(period_steps=200, episodes=2, final_episodes=2),
    )  # fmt: skip
    train(longer, out=tmp_path / "whole")
    train(replace(longer, steps=800), out=tmp_path / "parts")
    meta = tmp_path / "parts" / "checkpoints" / "0000000800" / "meta.json"
    kept = json.loads(meta.read_text())["user"]["progress"]["best"]
    scores = [r["agents"]["teacher"]["mean"] for r in records(tmp_path / "parts", "eval")[:-1]]
    assert kept == {"teacher": max(scores)}
    resume(tmp_path / "parts", steps=1_200)
    assert agent_bytes(tmp_path / "parts") == agent_bytes(tmp_path / "whole")
    latest = replace(longer, student=SMALL.student)
    train(latest, out=tmp_path / "latest")
    (same, whole), name = (agent_bytes(tmp_path / n) for n in ("latest", "whole")), "mlp8"
    assert same["teacher.safetensors"] == whole["teacher.safetensors"]
    assert same[f"{name}.safetensors"] != whole[f"{name}.safetensors"]


@pytest.mark.parametrize("teacher", ["double-dqn", "pqn", "ppo"])
def test_a_teacher_rests_at_the_end_and_its_students_go_on(tmp_path, teacher):
    kind = replace(SMALL.teacher, algorithm=teacher)
    plain = replace(SMALL, teacher=kind, rollout=RolloutConfig(steps=8, minibatch_size=16))
    if teacher == "ppo":
        plain = replace(plain, students=("mlp8:kl", "mlp4:nll"))
    rests = replace(
        plain, steps=800, checkpoint_steps=400, consolidation=ConsolidationConfig(0.25, updates=3)
    )
    short = replace(plain, checkpoint_steps=400)
    train(short, out=tmp_path / "short")
    train(rests, out=tmp_path / "whole")
    short, whole = (agent_bytes(tmp_path / name) for name in ("short", "whole"))
    assert whole["teacher.safetensors"] == short["teacher.safetensors"]
    assert whole["mlp8.safetensors"] != short["mlp8.safetensors"]
    lines = records(tmp_path / "whole", "train")
    assert {r["step"] for r in lines if "consolidating" in r} == {704, 800}
    assert all("loss" not in r["teacher"] for r in lines if "consolidating" in r)
    assert all(np.isfinite(r["students"]["mlp8"]["loss"]) for r in lines if "consolidating" in r)
    evaluated = {r["step"]: set(r["agents"]) for r in records(tmp_path / "whole", "eval")}
    everyone = {"teacher", "mlp8", "mlp4"}
    assert evaluated == {304: everyone, 600: {"mlp8", "mlp4"}, 800: everyone}


def test_a_run_that_is_resumed_while_its_teacher_rests_equals_one_that_was_not(tmp_path):
    rests = replace(
        SMALL, steps=800, checkpoint_steps=700, consolidation=ConsolidationConfig(0.25, updates=3)
    )
    train(rests, out=tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "parts")
    shutil.rmtree(tmp_path / "parts" / "checkpoints" / "0000000800")
    (checkpoint,) = (tmp_path / "parts" / "checkpoints").iterdir()
    assert json.loads((checkpoint / "meta.json").read_text())["user"]["progress"]["consolidating"]
    Run.open(tmp_path / "parts").note(status="interrupted")
    resume(tmp_path / "parts")
    assert agent_bytes(tmp_path / "parts") == agent_bytes(tmp_path / "whole")
    for kind in ("train", "eval"):
        assert records(tmp_path / "parts", kind) == records(tmp_path / "whole", kind)
    before = agent_bytes(tmp_path / "whole")["teacher.safetensors"]
    resume(tmp_path / "whole", steps=1_600)  # its teacher learns again until step 1,200
    assert agent_bytes(tmp_path / "whole")["teacher.safetensors"] != before
    last = [r["step"] for r in records(tmp_path / "whole", "train") if "consolidating" in r]
    assert min(step for step in last if step > 800) > 1_200


def test_a_teacher_that_learns_again_does_so_from_a_rollout_of_its_own_play(tmp_path, monkeypatch):
    """Not from the one before its rest, whose rows have been written over since."""
    kind = replace(SMALL.teacher, algorithm="pqn")
    rests = replace(
        SMALL, teacher=kind, steps=800, rollout=RolloutConfig(steps=8, minibatch_size=16),
        consolidation=ConsolidationConfig(0.25, updates=1),
    )  # fmt: skip
    train(rests, out=tmp_path / "run")
    restore, found = Trainer.restore, []

    def restored(trainer):
        restore(trainer)
        ((rollout,), (replay,)) = trainer.compiled.rollout.values(), trainer.replays.values()
        found.append((rollout.rows.tolist(), ring.newest(replay, 9).tolist()))

    monkeypatch.setattr(Trainer, "restore", restored)
    resume(tmp_path / "run", steps=1_600)
    ((planned, newest),) = found
    assert planned == newest


def test_a_teacher_alone_does_not_rest(tmp_path):
    alone = replace(SMALL, students=("none",))
    train(alone, out=tmp_path / "plain")
    train(replace(alone, consolidation=ConsolidationConfig(0.5)), out=tmp_path / "asked")
    assert agent_bytes(tmp_path / "asked") == agent_bytes(tmp_path / "plain")


def test_a_run_of_two_games_has_a_teacher_for_each_and_students_of_both(tmp_path):
    fast = OptimizerConfig(learning_rate=5e-3)
    setting = replace(
        SMALL,
        env="probe/swap+probe/match",
        students=("mlp8:kl",),
        steps=1_200,
        teacher=replace(SMALL.teacher, optimizer=fast, target_period_updates=25),
        student=StudentConfig(optimizer=fast),
    )
    summary = train(setting, out=tmp_path / "run")
    agents = ["swap/teacher", "swap/mlp8", "match/teacher", "match/mlp8"]
    assert list(summary["agents"]) == list(Run.open(tmp_path / "run").agents) == agents
    last = records(tmp_path / "run", "train")[-1]
    assert set(last["teachers"]) == {"swap/teacher", "match/teacher"}
    assert set(last["teachers"]["swap/teacher"]) == {"loss", "q", "return"}
    assert set(last["students"]) == {"mlp8", "swap/mlp8", "match/mlp8"}
    assert set(last["students"]["mlp8"]) == {"loss", "advantage_kept", "agreement"}
    each = [last["students"][f"{game}/mlp8"]["agreement"] for game in ("swap", "match")]
    assert last["students"]["mlp8"]["agreement"] == pytest.approx(np.mean(each), abs=1e-6)
    found = evaluate(tmp_path / "run", episodes=8, epsilon=0.0)["agents"]
    assert {name: row["mean"] for name, row in found.items()} == dict.fromkeys(agents, 1.0)
    policies = [load_policy(tmp_path / "run", f"{game}/mlp8") for game in ("swap", "match")]
    assert [policy.spec.num_actions for policy in policies] == [3, 2]
    bodies = [policy.net.streams[0][0] for policy in policies]
    assert eqx.tree_equal(*bodies)


def test_students_that_act_are_told_apart_and_feed_the_teacher_too(tmp_path, finished):
    acting = replace(SAVED, actors="teacher=6,mlp8=2")
    train(acting, out=tmp_path / "run")
    last = records(tmp_path / "run", "train")[-1]
    assert last["students"]["mlp8"]["return"] > 0
    assert "return" not in last["students"]["mlp4"]
    (path, _), weights = finished, agent_bytes(tmp_path / "run")
    assert weights["teacher.safetensors"] != agent_bytes(path)["teacher.safetensors"]


@pytest.mark.parametrize(
    ("env", "students", "pieces"),
    [
        ("probe/match+probe/match", ("mlp8",), ("'match' twice",)),
        ("probe/match+probe/chain", ("mlp8",), ("frame shape (5,)", "(2,)", "chain")),
        ("probe/match+probe/swop", ("mlp8",), ("swop", "swap")),
        ("probe/match+probe/swap", ("mlp8:kl-td",), ("mlp8:kl-td", "use kl")),
    ],
)
def test_games_that_no_student_can_share_are_refused(tmp_path, env, students, pieces):
    with pytest.raises(RequestError) as error:
        train(replace(SMALL, env=env, students=students), out=tmp_path / "run")
    assert all(piece in str(error.value) for piece in pieces)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("optimised")
def test_the_teacher_of_a_pong_training_is_bit_identical_whatever_follows_it(tmp_path):
    families = (), ("net25:kl", "net7:mse", "net4:nll", "net0.5:kl-td", "net0.1:kl:int8")
    weights = []
    for number, students in enumerate(families):
        setting = replace(
            SMALL,
            env="pong",
            students=students or ("none",),
            steps=240,
            teacher=TeacherConfig(net="nature"),
            replay=ReplayConfig(capacity=400, warmup_steps=200),
            evaluation=EvaluationConfig(period_steps=0, episodes=1, final_episodes=1),
        )
        setting = replace(setting, environment=replace(setting.environment, max_episode_frames=400))
        train(setting, out=tmp_path / str(number))
        weights.append(agent_bytes(tmp_path / str(number))["teacher.safetensors"])
    assert weights[0] == weights[1]


def test_a_finished_run_is_not_resumed_without_more_steps(finished):
    with pytest.raises(RunError, match=r"is finished: --steps above 600"):
        resume(finished[0])


def test_a_finished_folder_is_not_overwritten(finished):
    before = (finished[0] / "manifest.json").read_bytes()
    with pytest.raises(RunError, match="already holds a run"):
        train(SMALL, out=finished[0])
    assert (finished[0] / "manifest.json").read_bytes() == before


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(path):
    class Listener(Monitor):
        said = ""

        def warn(self, text):
            self.said += text

    newest = path / "checkpoints" / "0000000600" / "arrays.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1] + b"!")
    listener = Listener()
    summary = resume(path, steps=640, monitor=listener)
    assert "0000000600" in listener.said
    assert "damaged" in listener.said
    assert summary["step"] == 640
    steps = [r["step"] for r in records(path, "train")]
    assert steps == sorted(set(steps))  # nothing appears twice


def test_a_run_that_goes_on_on_another_kind_of_cpu_says_so_in_one_line(path, monkeypatch):
    class Listener(Monitor):
        def __init__(self):
            self.warnings = []

        def warn(self, text):
            self.warnings.append(text)

    here, elsewhere = Listener(), Listener()
    resume(path, steps=640, monitor=here)
    assert here.warnings == []
    monkeypatch.setattr(cpu, "features", lambda: frozenset({"avx2", "fma", "sse"}))
    resume(path, steps=680, monitor=elsewhere)
    (warning,) = elsewhere.warnings
    assert "this CPU (avx2 fma) is of another kind" in warning and "\n" not in warning


def test_a_run_without_a_saved_replay_refills_it_before_it_learns(tmp_path):
    setting = replace(SMALL, replay=replace(SMALL.replay, save=False))
    train(setting, out=tmp_path / "run")
    resume(tmp_path / "run", steps=1000)
    updates = {r["step"]: r["updates"] for r in records(tmp_path / "run", "train")}
    assert updates[704] == updates[600]  # refilling
    assert updates[1000] == updates[600] + (1000 - 800) // 4 + 1


def test_a_replay_that_does_not_fit_is_refused_with_both_numbers(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "free_bytes", lambda: 3 * 10**9)
    setting = replace(
        SMALL, env="pong", students=("net1.7:kl",), teacher=TeacherConfig(),
        replay=ReplayConfig(capacity=1_000_000),
    )  # fmt: skip
    message = r"needs 7\.88 GB in all, 3\.00 GB are free; 309000 would fit"
    with pytest.raises(ConfigError, match=message):
        train(setting, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"students": ("net1.7:kl",)}, "reads images but gym/CartPole-v1 gives vectors"),
        (
            {"teacher": TeacherConfig(net="nature")},
            "reads images but gym/CartPole-v1 gives vectors",
        ),
        ({"env": "gym/CartPol-v1"}, "CartPole-v1"),
        ({"steps": 0}, "--steps 0"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(tmp_path, change, message):
    with pytest.raises(RequestError, match=message):
        train(replace(SMALL, **change), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.slow
def test_an_interrupted_run_saves_and_goes_on(tmp_path, number):
    path = tmp_path / "run"
    command = [
        sys.executable, "-m", "rtpd", "train", "gym/CartPole-v1", "--out", str(path),
        "--steps", "1000000", "--checkpoint-steps", "1000", "--log-steps", "500",
        "--preset", "double-dqn", "--replay.capacity", "2000", "--replay.warmup-steps", "500",
        "--evaluation.period-steps", "0",
    ]  # fmt: skip
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    deadline = time.monotonic() + 120
    while not list(path.glob("checkpoints/0*")) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(number)
    output, _ = process.communicate(timeout=120)
    if number != signal.SIGKILL:
        assert process.returncode == 130, output
        assert Run.open(path).manifest["status"] == "interrupted"
        assert f"rtpd train --resume {path}" in output
    reached = max(int(p.name) for p in path.glob("checkpoints/0*"))
    summary = resume(path, steps=reached + 200)
    assert summary["status"] == "finished"
    assert summary["step"] >= reached + 200


def test_tensorboard_events_hold_the_numbers_of_the_metrics(tmp_path):
    train(replace(SMALL, steps=400), out=tmp_path / "run", track=("tensorboard",))
    events = list((tmp_path / "run" / "tensorboard").glob("events.*"))
    assert len(events) == 1
    data = events[0].read_bytes()
    assert b"train/students/mlp8/agreement" in data
    assert b"eval/agents/teacher/mean" in data


def test_a_constant_centre_and_scale_are_kept_with_every_agent(tmp_path):
    train(replace(SMALL, steps=240, centre="0.5", scale="2"), out=tmp_path / "run")
    data = safetensors.numpy.load_file(tmp_path / "run" / "agents" / "mlp4.safetensors")
    centre, scale = (next(v for k, v in data.items() if k.endswith(n)) for n in ("centre", "scale"))
    assert centre.tolist() == [0.5] * 4
    assert scale.tolist() == [2] * 4
    shutil.rmtree(tmp_path / "run")


def test_only_one_program_is_compiled_for_the_update(tmp_path, monkeypatch):
    from rtpd.learning.update import Learner

    traces = []
    update = Learner.update
    monkeypatch.setattr(
        Learner, "update", lambda self, *args: traces.append(1) or update(self, *args)
    )
    train(SMALL, out=tmp_path / "run")
    assert len(traces) == 1
    assert jax.default_backend() == "cpu"


def test_who_plays_in_an_evaluation_is_saved_when_it_begins(tmp_path):
    run, saved = tmp_path / "run", []

    class Look(Monitor):
        def record(self, record):
            if record["kind"] == "eval":
                files = [run / "agents" / f"{name}.json" for name in record["agents"]]
                steps = {json.loads(file.read_text())["step"] for file in files}
                saved.append((record["step"], steps))

    often = EvaluationConfig(period_steps=200, episodes=1, final_episodes=1)
    train(replace(SMALL, evaluation=often), out=run, monitor=Look())
    assert len(saved) == 3 and all(steps == {step} for step, steps in saved)


def test_evaluations_after_the_first_compile_nothing(tmp_path):
    """Else memory grows with every one: compiled programs are kept."""
    compiled, seen = [], []

    def note(event, seconds, **about):
        compiled.extend([about.get("fun_name")] * event.endswith("backend_compile_duration"))

    class Seen(Monitor):
        def record(self, record):
            if record["kind"] == "eval":
                seen.append(len(compiled))

    often = EvaluationConfig(period_steps=80, episodes=2, final_episodes=2)
    settings = replace(SMALL, log_steps=40, evaluation=often)
    jax.monitoring.register_event_duration_secs_listener(note)
    try:
        train(settings, out=tmp_path / "run", monitor=Seen())
    finally:
        jax.monitoring.unregister_event_duration_listener(note)
    assert len(seen) >= 4
    assert seen[0] > 0
    assert seen[-1] == seen[1], compiled[seen[1] :]
