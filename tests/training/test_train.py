"""Whole trainings through the public functions: what they leave behind, and that they go on."""

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

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
from rtpd.learning.update import Learner
from rtpd.storage.run_folder import Run
from rtpd.system import cpu, memory
from rtpd.training.checkpointing import Progress
from rtpd.training.compiled import CompiledLearner
from rtpd.training.host_loop import HostLoop
from rtpd.training.monitor import Monitor
from rtpd.training.train import resume, train
from rtpd.training.trainer import Trainer
from rtpd.types import EnvSpec

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


SAVED = replace(SMALL, checkpoint_steps=300)


def played_by(settings):
    """With the rollouts and the exploration that its teacher has, and no others."""
    if settings.teacher.algorithm in ("pqn", "ppo"):
        settings = replace(settings, rollout=RolloutConfig(steps=8, minibatch_size=16))
    if settings.teacher.algorithm == "ppo":
        settings = replace(settings, exploration=ExplorationConfig())
    return settings


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


def stopped(run, step, path):
    """A copy of a finished run as it was when it was stopped after the checkpoint of a step."""
    shutil.copytree(run, path)
    for checkpoint in (path / "checkpoints").iterdir():
        if int(checkpoint.name) > step:
            shutil.rmtree(checkpoint)
    Run.open(path).note(status="interrupted")
    return path


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
    train(played_by(longer), out=tmp_path / "whole")
    resume(stopped(tmp_path / "whole", 400, tmp_path / "parts"))
    assert agent_bytes(tmp_path / "parts") == agent_bytes(tmp_path / "whole")
    for kind in ("train", "eval"):
        assert records(tmp_path / "parts", kind) == records(tmp_path / "whole", kind)


def test_a_run_that_is_made_longer_equals_one_that_was_that_long(finished, path):
    """But for the evaluation that ended the shorter one."""
    train(replace(SAVED, steps=800), out=path.with_name("whole"))
    resume(path, steps=800)
    assert agent_bytes(path) == agent_bytes(path.with_name("whole"))
    assert records(path, "train") == records(path.with_name("whole"), "train")
    whole = records(path.with_name("whole"), "eval")
    assert [r for r in records(path, "eval") if r["step"] != 600] == [
        r for r in whole if r["step"] != 600
    ]


def test_a_run_that_follows_the_best_teacher_keeps_it_over_a_resume(tmp_path):
    best = replace(SMALL.student, follow="best")
    longer = replace(
        SMALL, steps=1_200, checkpoint_steps=800, student=best, num_envs=8,
        evaluation=EvaluationConfig(period_steps=200, episodes=2, final_episodes=2),
    )  # fmt: skip
    train(longer, out=tmp_path / "whole")
    stopped(tmp_path / "whole", 800, tmp_path / "parts")
    meta = tmp_path / "parts" / "checkpoints" / "0000000800" / "meta.json"
    kept = json.loads(meta.read_text())["user"]["progress"]["best"]
    before = [r for r in records(tmp_path / "whole", "eval") if r["step"] < 800]
    assert kept == {"teacher": max(r["agents"]["teacher"]["mean"] for r in before)}
    resume(tmp_path / "parts")
    assert agent_bytes(tmp_path / "parts") == agent_bytes(tmp_path / "whole")
    latest = replace(longer, student=SMALL.student)
    train(latest, out=tmp_path / "latest")
    (same, whole), name = (agent_bytes(tmp_path / n) for n in ("latest", "whole")), "mlp8"
    assert same["teacher.safetensors"] == whole["teacher.safetensors"]
    assert same[f"{name}.safetensors"] != whole[f"{name}.safetensors"]


def test_of_the_teachers_evaluated_the_best_is_followed_and_of_equals_the_first():
    means, followed = [-21.0, -21.5, 5.0, None, 5.0, 4.0], []  # None: it was given up
    trainer = SimpleNamespace(
        stop=SimpleNamespace(asked=False),
        progress=Progress(learn_from=0),
        learner=SimpleNamespace(agent=lambda game, name: f"{game}/{name}"),
        compiled=SimpleNamespace(follow_best=lambda game, net: followed.append((game, net))),
        logger=SimpleNamespace(),
    )
    for i, mean in enumerate(means):
        rows = None if mean is None else {"pong/teacher": {"mean": mean}}
        trainer.logger.end_evaluation, trainer._evaluated = lambda hurry, r=rows: r, {"pong": i}
        Trainer._end_evaluation(trainer)
    assert followed == [("pong", 0), ("pong", 2)]
    assert trainer.progress.best == {"pong/teacher": 5.0}


def test_means_are_over_the_updates_since_they_were_last_begun_anew():
    compiled = object.__new__(CompiledLearner)  # without its nets and programs
    compiled.state = compiled.rollout = None
    zero = {"pong/teacher/loss": 0.0, "mlp8/loss": 0.0}
    compiled.learner = SimpleNamespace(zero_metrics=lambda consolidating: zero)

    def of_loss(size, gone):
        added = {"pong/teacher/loss": size, "mlp8/loss": 2 * size}
        return lambda state, totals, *_: (state, {k: v + added[k] for k, v in totals.items()}, {})

    compiled._update_after = of_loss
    for sizes, mean in ([1, 2, 6], 3.0), ([], None), ([5], 5.0):
        compiled.clear_sums(consolidating=False)
        for size in sizes:
            compiled.update({}, size)
        expected = {"pong/teacher": {"loss": mean}, "mlp8": {"loss": 2 * mean}} if sizes else {}
        assert compiled.means() == expected


class Watch(Monitor):
    """What is there when an evaluation ends: programs compiled so far, steps of saved agents."""

    def __init__(self, run):
        self.run, self.compiled, self.seen = run, [], []

    def note(self, event, seconds, **about):
        self.compiled.extend([about.get("fun_name")] * event.endswith("backend_compile_duration"))

    def record(self, record):
        if record["kind"] == "eval":
            files = [self.run / "agents" / f"{name}.json" for name in record["agents"]]
            steps = {json.loads(file.read_text())["step"] for file in files}
            self.seen.append((record["step"], steps, len(self.compiled)))


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """A run that is evaluated often, which changes nothing of what it learns, and its monitor."""
    from rtpd.learning.update import Learner

    run, traces, update = tmp_path_factory.mktemp("watched") / "run", [], Learner.update
    monitor, often = Watch(run), EvaluationConfig(period_steps=80, episodes=2, final_episodes=2)
    settings = replace(SMALL, log_steps=40, evaluation=often)
    jax.monitoring.register_event_duration_secs_listener(monitor.note)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                Learner, "update", lambda self, *args: traces.append(1) or update(self, *args)
            )
            train(settings, out=run, monitor=monitor, track=("tensorboard",))
    finally:
        jax.monitoring.unregister_event_duration_listener(monitor.note)
    monitor.traces = len(traces)
    return run, monitor


RESTING = replace(
    SMALL, steps=800, checkpoint_steps=700, consolidation=ConsolidationConfig(0.25, updates=3)
)


@pytest.fixture(scope="module")
def rested(tmp_path_factory):
    """A finished run whose teacher rests from step 600 on; copy it to change it."""
    path = tmp_path_factory.mktemp("rested") / "run"
    train(RESTING, out=path)
    return path


@pytest.mark.parametrize("teacher", ["double-dqn", "pqn", "ppo"])
def test_a_teacher_rests_at_the_end_and_its_students_go_on(tmp_path, teacher, request):
    if teacher == SMALL.teacher.algorithm:
        (short, _), whole = (request.getfixturevalue(name) for name in ("watched", "rested"))
    else:
        kind = replace(SMALL.teacher, algorithm=teacher)
        short, whole = tmp_path / "short", tmp_path / "whole"
        students = ("mlp8:kl", "mlp4:nll" if teacher == "ppo" else "mlp4:mse")
        for settings, path in ((SMALL, short), (RESTING, whole)):
            train(played_by(replace(settings, teacher=kind, students=students)), out=path)
    before, after = agent_bytes(short), agent_bytes(whole)
    assert after["teacher.safetensors"] == before["teacher.safetensors"]
    assert after["mlp8.safetensors"] != before["mlp8.safetensors"]
    lines = records(whole, "train")
    assert {r["step"] for r in lines if "consolidating" in r} == {704, 800}
    assert all("loss" not in r["teacher"] for r in lines if "consolidating" in r)
    assert all(np.isfinite(r["students"]["mlp8"]["loss"]) for r in lines if "consolidating" in r)
    evaluated = {r["step"]: set(r["agents"]) for r in records(whole, "eval")}
    everyone = {"teacher", "mlp8", "mlp4"}
    assert evaluated == {304: everyone, 600: {"mlp8", "mlp4"}, 800: everyone}


def test_students_learn_more_often_at_the_end_beside_the_same_teacher(finished, tmp_path):
    """From update 26 of 101 on, at step 304: the checkpoint of step 400 lies behind it."""
    path, _ = finished
    late = StudentConfig(late_updates=3, late_share=0.75)
    train(replace(SAVED, student=late), out=tmp_path / "whole")
    once, more = agent_bytes(path), agent_bytes(tmp_path / "whole")
    assert more["teacher.safetensors"] == once["teacher.safetensors"]
    assert more["mlp8.safetensors"] != once["mlp8.safetensors"]
    lines = [records(run, "train") for run in (path, tmp_path / "whole")]
    same = [a["step"] for a, b in zip(*lines, strict=True) if a["students"] == b["students"]]
    assert same == [104, 200]
    parts = stopped(tmp_path / "whole", 400, tmp_path / "parts")
    resume(parts)
    assert agent_bytes(parts) == more


@pytest.mark.parametrize(
    ("seconds", "resting", "late"),
    [(449, 0.0, False), (450, 0.0, True), (359, 0.2, False), (361, 0.2, True)],
)
def test_the_end_of_a_run_comes_by_minutes_too(seconds, resting, late):
    """Of 10 minutes the last quarter, or that of the time before the teacher rests."""
    rest = ConsolidationConfig(share=resting)
    settings = replace(
        SMALL, minutes=10.0, consolidation=rest, student=StudentConfig(late_updates=2)
    )
    learner, asked = Learner(settings, {"cart": EnvSpec("gym/c", 2, (4,), "float32")}), []
    compiled = SimpleNamespace(
        plan=lambda replays: None, update=lambda replays, *made: asked.append(made)
    )
    progress = Progress(learn_from=0)
    loop = SimpleNamespace(
        learner=learner, compiled=compiled, progress=progress, collectors={}, replays={},
        learns_next=False, step=lambda gone: HostLoop.update(loop, gone) or [],
    )  # fmt: skip
    trainer = SimpleNamespace(
        loop=loop, learner=learner, progress=progress, config=settings, collectors={},
        logger=SimpleNamespace(seconds=seconds),
        _may_consolidate=lambda seconds: False, _due=lambda period, step: False,
    )  # fmt: skip
    Trainer.step(trainer)
    (made,) = asked
    assert bool(learner.after(*made).late) == late


def test_a_run_that_is_resumed_while_its_teacher_rests_equals_one_that_was_not(rested, tmp_path):
    parts = stopped(rested, 704, tmp_path / "parts")
    (checkpoint,) = (parts / "checkpoints").iterdir()
    assert json.loads((checkpoint / "meta.json").read_text())["user"]["progress"]["consolidating"]
    resume(parts)
    assert agent_bytes(parts) == agent_bytes(rested)
    for kind in ("train", "eval"):
        assert records(parts, kind) == records(rested, kind)
    resume(parts, steps=1_600)  # its teacher learns again until step 1,200
    teachers = [agent_bytes(run)["teacher.safetensors"] for run in (parts, rested)]
    assert teachers[0] != teachers[1]
    last = [r["step"] for r in records(parts, "train") if "consolidating" in r]
    assert min(step for step in last if step > 800) > 1_200


def test_a_teacher_that_learns_again_does_so_from_a_rollout_of_its_own_play(tmp_path, monkeypatch):
    """Not from the one before its rest, whose rows have been written over since."""
    kind = replace(SMALL.teacher, algorithm="pqn")
    rests = replace(
        RESTING, teacher=kind, rollout=RolloutConfig(steps=8, minibatch_size=16),
        checkpoint_steps=0,
    )  # fmt: skip
    train(rests, out=tmp_path / "run")
    restore, found = Trainer.restore, []

    def restored(trainer):
        restore(trainer)
        loop = trainer.loop
        ((rollout,), (replay,)) = loop.compiled.rollout.values(), loop.replays.values()
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


def test_a_constant_centre_and_scale_are_kept_with_every_agent(tmp_path):
    train(replace(SMALL, steps=240, centre="0.5", scale="2"), out=tmp_path / "run")
    data = safetensors.numpy.load_file(tmp_path / "run" / "agents" / "mlp4.safetensors")
    centre, scale = (next(v for k, v in data.items() if k.endswith(n)) for n in ("centre", "scale"))
    assert centre.tolist() == [0.5] * 4
    assert scale.tolist() == [2] * 4
    shutil.rmtree(tmp_path / "run")


def test_only_one_program_is_compiled_for_the_update(watched):
    assert watched[1].traces == 1
    assert jax.default_backend() == "cpu"


def test_who_plays_in_an_evaluation_is_saved_when_it_begins(watched):
    seen = watched[1].seen
    assert len(seen) >= 4 and all(steps == {step} for step, steps, _ in seen)


def test_evaluations_after_the_first_compile_nothing(watched):
    """Else memory grows with every one: compiled programs are kept."""
    _, monitor = watched
    counts = [count for *_, count in monitor.seen]
    assert len(counts) >= 4
    assert counts[0] > 0
    assert counts[-1] == counts[1], monitor.compiled[counts[1] :]


def test_tensorboard_events_hold_the_numbers_of_the_metrics(watched):
    (events,) = (watched[0] / "tensorboard").glob("events.*")
    data = events.read_bytes()
    assert b"train/students/mlp8/agreement" in data
    assert b"eval/agents/teacher/mean" in data
