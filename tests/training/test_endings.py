"""Whatever a run waits for, it ends when it is asked to, and nothing is lost."""

import os
import pty
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import gymnasium
import numpy as np
import pytest

from rtpd import envs
from rtpd.agents.evaluate import evaluate
from rtpd.config.settings import Config, EvaluationConfig, ReplayConfig, TeacherConfig
from rtpd.storage import checkpoint
from rtpd.storage.run_folder import Run
from rtpd.system import interrupt
from rtpd.training import background, trainer
from rtpd.training.monitor import Monitor
from rtpd.training.train import resume, train

SETTINGS = Config(
    env="gym/RtpdStuck-v0",
    students=("mlp8:kl",),
    steps=400,
    log_steps=96,
    checkpoint_steps=200,
    environment=envs.EnvOptions(max_episode_frames=40),
    teacher=TeacherConfig(net="mlp16-16"),
    replay=ReplayConfig(capacity=800, warmup_steps=100),
    evaluation=EvaluationConfig(period_steps=0, episodes=1, final_episodes=2),
)
SECONDS = 60.0  # far more than any of these takes, far less than for ever


class Stuck(gymnasium.Env):
    """An env whose episodes never end; `hook` is called at every step."""

    observation_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)
    hook = staticmethod(lambda: None)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(2, np.float32), {}

    def step(self, action):
        type(self).hook()
        return self.np_random.uniform(-1, 1, 2).astype(np.float32), 1.0, False, False, {}


class Told(Monitor):
    """Keeps what a run tells."""

    def __init__(self):
        self.warnings, self.phases = [], []

    def warn(self, text):
        self.warnings.append(text)

    def phase(self, text):
        self.phases.append(text)


@pytest.fixture
def hang(monkeypatch):
    """A function: from the step of all envs together on that `when` picks, steps do not return.

    The first such step sends a signal to this process after `seconds`.
    """
    if "RtpdStuck-v0" not in gymnasium.registry:
        gymnasium.register("RtpdStuck-v0", lambda: Stuck(), disable_env_checker=True)
    monkeypatch.setattr(interrupt, "PATIENCE_SECONDS", 0.3)
    monkeypatch.setattr(background, "PATIENCE_SECONDS", 0.3)
    # Steps are counted from the training's first one: what random play scores is known.
    monkeypatch.setattr(trainer, "has_baseline", lambda game: True)
    released = threading.Event()

    def settle(number, when, seconds=0.0):
        steps = iter(range(10**9))
        sent = []

        def hook():
            if when(next(steps)):
                if not sent:
                    sent.append(number)
                    released.wait(seconds)
                    os.kill(os.getpid(), number)
                released.wait(SECONDS)

        monkeypatch.setattr(Stuck, "hook", staticmethod(hook))

    yield settle
    released.set()


def in_a_thread(step):
    """Whether a step is one of an evaluation that plays beside the training."""
    del step
    return threading.current_thread() is not threading.main_thread()


def test_an_episode_without_an_end_is_cut_off_and_that_is_said(tmp_path, hang, capsys):
    hang(0, lambda step: False)
    told = Told()
    assert train(SETTINGS, out=tmp_path / "run", monitor=told)["status"] == "finished"
    (said, _) = told.warnings
    assert "2 of 2 episodes did not end and were cut off after 40 frames" in said
    result = evaluate(tmp_path / "run", episodes=3)["agents"]["mlp8"]
    assert result["returns"] == [40.0] * 3
    assert result["cut_off"] == 3
    (record,) = (r for r in Run.open(tmp_path / "run").records() if r["kind"] == "eval")
    assert record["agents"]["teacher"]["cut_off"] == 2


def test_an_end_that_the_env_itself_has_set_is_no_cut(tmp_path):
    settings = replace(SETTINGS, env="gym/CartPole-v1", environment=envs.EnvOptions())
    train(settings, out=tmp_path / "run")
    assert evaluate(tmp_path / "run", episodes=2)["agents"]["mlp8"]["cut_off"] == 0


@pytest.mark.parametrize("number", interrupt.SIGNALS)
def test_a_step_that_never_returns_does_not_keep_a_run_from_ending(tmp_path, hang, number):
    hang(number, lambda step: step >= 304)
    told, began = Told(), time.monotonic()
    summary = train(SETTINGS, out=tmp_path / "run", monitor=told)
    assert time.monotonic() - began < SECONDS
    assert summary["status"] == Run.open(tmp_path / "run").manifest["status"] == "interrupted"
    assert summary["step"] == 304
    assert "gym/RtpdStuck-v0 has not answered" in told.warnings[0]
    hang(0, lambda step: False)
    assert resume(tmp_path / "run")["status"] == "finished"


def test_random_play_that_never_returns_does_not_keep_a_run_from_ending(
    tmp_path, hang, monkeypatch
):
    monkeypatch.setattr(trainer, "has_baseline", lambda game: False)
    hang(signal.SIGTERM, lambda step: step >= 10)
    began = time.monotonic()
    summary = train(SETTINGS, out=tmp_path / "run")
    assert time.monotonic() - began < SECONDS
    assert (summary["status"], summary["step"]) == ("interrupted", 0)


@pytest.mark.parametrize(
    ("patience", "checkpoint_steps"),
    [(0.0, 200), (1.0, 200), (1.0, 0)],  # while training; a checkpoint or the next one waits for it
)
def test_an_evaluation_that_never_returns_does_not_keep_a_run_from_ending(
    tmp_path, hang, patience, checkpoint_steps
):
    hang(signal.SIGTERM, in_a_thread, patience)
    evaluation = replace(SETTINGS.evaluation, period_steps=120)
    told, began = Told(), time.monotonic()
    settings = replace(SETTINGS, evaluation=evaluation, checkpoint_steps=checkpoint_steps)
    summary = train(settings, out=tmp_path / "run", monitor=told)
    assert time.monotonic() - began < SECONDS
    assert summary["status"] == "interrupted"
    assert told.warnings == ["an evaluation was given up, since the run is to end"]
    assert [int(p.name) for p in checkpoint.newest(tmp_path / "run" / "checkpoints")] == [
        summary["step"]
    ]
    assert not [r for r in Run.open(tmp_path / "run").records() if r["kind"] == "eval"]


def test_a_final_evaluation_that_never_returns_does_not_keep_a_run_from_ending(tmp_path, hang):
    hang(signal.SIGTERM, lambda step: step >= 400 + 8)
    began = time.monotonic()
    summary = train(SETTINGS, out=tmp_path / "run")
    assert time.monotonic() - began < SECONDS
    assert summary["status"] == Run.open(tmp_path / "run").manifest["status"] == "interrupted"
    assert summary["next"] == [f"rtpd train --resume {tmp_path / 'run'}"]
    assert checkpoint.newest(tmp_path / "run" / "checkpoints")[0].name == "0000000400"


def test_signals_in_quick_succession_are_one_request():
    before = {number: signal.getsignal(number) for number in interrupt.SIGNALS}
    asked = []
    with interrupt.interruptible(lambda: asked.append(True)):
        for number in interrupt.SIGNALS:
            signal.raise_signal(number)
    assert asked == [True]
    assert {number: signal.getsignal(number) for number in interrupt.SIGNALS} == before


def test_a_later_signal_ends_at_once(monkeypatch):
    monkeypatch.setattr(interrupt, "_SAME_REQUEST_SECONDS", 0.0)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt), interrupt.interruptible(lambda: None):
            signal.raise_signal(signal.SIGINT)
            time.sleep(0.01)
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_what_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        asked = []
        with interrupt.interruptible(lambda: asked.append(True)):
            signal.raise_signal(signal.SIGHUP)
        assert not asked
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_closed_terminal_is_no_reason_to_lose_a_run(tmp_path):
    ours, terminal = pty.openpty()
    attach = "import fcntl, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
    command = f"{attach} from rtpd.cli.main import main; sys.exit(main())"
    flags = ["train", "gym/CartPole-v1", "--preset", "double-dqn", "--students", "mlp8:kl",
             "--teacher.net", "mlp16-16", "--replay.capacity", "800",
             "--replay.warmup-steps", "100", "--steps", "1000000",
             "--evaluation.period-steps", "0"]  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-c", command, *flags, "--out", str(tmp_path / "run")],
        stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True,
        env=os.environ | {"JAX_PLATFORMS": "cpu", "TERM": "dumb"},
    )  # fmt: skip
    os.close(terminal)
    try:
        shown = b""
        while b"training" not in shown and b"keeps" not in shown:
            shown += os.read(ours, 4096)
    finally:
        os.close(ours)  # which hangs up
    assert process.wait(timeout=SECONDS) == 130
    run = Run.open(tmp_path / "run")
    assert run.manifest["status"] == "interrupted"
    assert checkpoint.newest(run.checkpoints)
