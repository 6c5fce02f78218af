"""What a person types and reads: outputs, exit codes, one line for every error."""

import contextlib
import io
import json
import shlex
import subprocess
import sys
from pathlib import Path

import gymnasium
import pytest

from rtpd import envs
from rtpd.cli.main import main
from rtpd.config.loading import presets
from rtpd.errors import typed

TINY = [
    "gym/CartPole-v1", "--steps", "400", "--students", "mlp8:kl", "--log-steps", "200",
    "--num-envs", "8",
    "--replay.capacity", "800", "--replay.warmup-steps", "200",
    "--evaluation.period-steps", "0", "--evaluation.episodes", "2",
    "--evaluation.final-episodes", "2",
]  # fmt: skip


@pytest.fixture(scope="module")
def quiet_run(tmp_path_factory):
    """The folder of a run, and what `rtpd train --quiet` has printed of it."""
    path, printed = tmp_path_factory.mktemp("cli") / "run", io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        assert main(["train", *TINY, "--out", str(path), "--quiet"]) == 0
    return path, printed.getvalue()


@pytest.fixture
def run(quiet_run):
    return quiet_run[0]


def test_training_tells_progress_a_table_and_what_to_type_next(tmp_path, capsys):
    path = tmp_path / "run"
    assert main(["train", *TINY, "--out", str(path)]) == 0
    output = capsys.readouterr().out
    for piece in ("preset gym", "mlp8", "ETA", "keeps", "of teacher's", f"rtpd evaluate {path}"):
        assert piece in output
    assert "finished: 400 steps" in output


def test_quiet_is_quiet(quiet_run):
    assert quiet_run[1] == ""


def test_evaluate_prints_a_table_or_json(run, capsys):
    assert main(["evaluate", str(run), "--episodes", "3"]) == 0
    table = capsys.readouterr().out
    assert "mlp8" in table
    assert "3 episodes an agent, epsilon 0.05" in table
    assert main(["evaluate", str(run), "--episodes", "3", "--agents", "mlp8", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert list(result["agents"]) == ["mlp8"]
    assert len(result["agents"]["mlp8"]["returns"]) == 3
    assert result["agents"]["mlp8"]["human_normalised"] is None


def test_games_lists_them_with_their_actions(capsys):
    assert main(["games", "--json"]) == 0
    games = json.loads(capsys.readouterr().out)
    assert games["pong"] == 6
    assert len(games) > 100
    assert main(["games"]) == 0
    assert "breakout" in capsys.readouterr().out


BAD = [
    (["train", "pnog"], ["pnog", "pong"]),
    (["train", "pong", "--stpes", "3"], ["--stpes", "--steps"]),
    (["train", "pong", "--steps", "-1"], ["--steps", "-1", "1 or more"]),
    (["train", "pong", "--steps", "abc"], ["--steps", "abc"]),
    (["train", "pong", "--minutes", "nan"], ["--minutes", "nan"]),
    (["train", "pong", "--minutes", "inf"], ["--minutes", "inf", "finite"]),
    (["train", "pong", "--students", "net1.8:kl"], ["net1.8", "net1.7"]),
    (["train", "pong", "--students", "net1.7:kll"], ["kll", "kl"]),
    (["train", "pong", "--students", "net1.7:kl", "net1.7:kl"], ["net1.7:kl", "twice"]),
    (["train", "pong", "--students", "none", "net4"], ["none"]),
    (["train", "pong", "--students", "net4:kl:temprature=1"],
     ["net4:kl:temprature=1", "student.temperature"]),
    (["train", "pong", "--students", "net4:kl:temperature=hot"], ["net4", "temperature", "number"]),
    (["train", "pong", "--students", "net4:kl:temperature=0"], ["net4", "temperature 0", "1e-09"]),
    (["train", "pong", "--students", "net4:kl:follow=first"], ["net4", "first"]),
    (["train", "pong", "--students", "net4:kl:follow=ema"], ["net4", "--teacher.ema-decay"]),
    (["train", "pong", "--students", "net4:kl:=3"], ["net4:kl:=3"]),
    (["train", "pong", "--students", "net4:kl:optimizer.=3"], ["net4:kl:optimizer.=3"]),
    (["train", "pong", "--students", "net4:kl:optimizer=3"], ["net4", "table"]),
    (["train", "pong", "--on-divergence", "rollback", "--students",
      "net4:kl:optimizer.learning-rate=1"], ["net4", "rollback"]),
    (["train", "pong", "--students", "conv0-8-8x64"], ["conv0-8-8x64", "1 to 4096"]),
    (["train", "pong", "--teacher", "doubledqn"], ["doubledqn", "double-dqn"]),
    (["train", "pong", "--teacher.loss", "hubr"], ["hubr", "huber"]),
    (["train", "pong", "--teacher.gamma", "1.5"], ["--teacher.gamma", "1.5", "0 to 1"]),
    (["train", "pong", "--preset", "cpuu"], ["cpuu", "cpu"]),
    (["train", "pong", "--config", "absent.toml"], ["absent.toml"]),
    (["train", "pong", "--centre", "middle"], ["middle", "mean"]),
    (["train", "pong", "--scale", "0"], ["--scale", "0"]),
    (["train", "pong", "--replay.batch-size", "512", "--replay.warmup-steps", "100"],
     ["--replay.warmup-steps", "100", "512"]),
    (["train", "pong", "--environment.sticky-actions", "2"], ["2", "sticky"]),
    (["train", "gm/CartPole-v1"], ["gm", "gym"]),
    (["train", "pong", "--steps", "1.5"], ["--steps", "'1.5' is no whole number"]),
    (["train", "pong", "--seed", "3e9"], ["--seed 3000000000", "0 to 2,147,483,647"]),
    (["train", "--resume", "absent"], ["absent", "run folder"]),
    (["train", "--resume", "absent", "--teacher.gamma", "0.9"], ["--teacher.gamma", "--resume"]),
    (["train", "--student", "net1.7"], ["unknown option --student: did you mean --students?"]),
    (["train", "pong", "--lr", "1"], ["did you mean --teacher.optimizer.learning-rate or "
                                      "--student.optimizer.learning-rate?"]),
    (["train", "pong", "--batch-size", "1"], ["--batch-size", "--replay.batch-size"]),
    (["train", "pong", "--batch_size=1"], ["--batch_size", "--replay.batch-size"]),
    (["train", "pong", "--epochs", "1"], ["--epochs", "--rollout.epochs"]),
    (["train", "pong", "--total-timesteps", "1"], ["did you mean --steps?"]),
    (["report", "--out", "x"], ["no run folder given", "rtpd report DIR"]),
    (["evaluate", "absent"], ["absent", "run folder"]),
    (["evaluate"], ["run"]),
    (["trian", "pong"], ["trian", "train"]),
]  # fmt: skip


@pytest.mark.parametrize(("argv", "pieces"), BAD, ids=[" ".join(argv) for argv, _ in BAD])
def test_a_bad_request_gets_one_line_and_exit_code_2(argv, pieces, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1, err
    assert err.startswith("rtpd: error: ")
    for piece in pieces:
        assert piece in err
    assert not list(tmp_path.iterdir())


def test_whole_numbers_may_be_written_as_others_write_them(tmp_path, monkeypatch):
    seen = []

    def train(settings, **more):
        seen.append((settings.steps, settings.student.updates, settings.evaluation.episodes))
        return {"status": "finished"}

    monkeypatch.setattr("rtpd.training.train.train", train)
    file = tmp_path / "file.toml"  # as some editors write it
    file.write_bytes(b"\xef\xbb\xbfsteps = 2e4\nstudent.updates = 2.0\n")
    assert main(["train", "pong", "--config", str(file), "--evaluation.episodes", "1e1"]) == 0
    assert main(["train", "pong", "--config", str(file), "--steps", "1_000"]) == 0
    assert seen == [(20_000, 2, 10), (1000, 2, 3)]
    assert all(isinstance(number, int) for numbers in seen for number in numbers)


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("stepz = 3", ["stepz", "steps", "file.toml"]),
        ("[teacher]\ngama = 0.9", ["teacher.gama", "teacher.gamma", "file.toml"]),
        ("[teacher]\ngamma = 'high'", ["file.toml", "gamma"]),
        ("teacher = 3", ["teacher", "table"]),
        ("steps = [", ["file.toml", "TOML"]),
        ("steps = 1.5", ["file.toml", "steps"]),
    ],
)
def test_a_bad_toml_file_is_named_with_its_key(text, pieces, tmp_path, capsys):
    file = tmp_path / "file.toml"
    file.write_text(text)
    assert main(["train", "pong", "--config", str(file)]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    for piece in pieces:
        assert piece in err


def test_unknown_agents_of_a_run_are_named(run, capsys):
    assert main(["evaluate", str(run), "--agents", "mlp9"]) == 2
    err = capsys.readouterr().err
    assert "mlp9" in err
    assert "mlp8" in err
    assert main(["evaluate", str(run), "--epsilon", "2"]) == 2
    assert "--epsilon 2" in capsys.readouterr().err


def test_a_run_folder_that_is_taken_is_refused(run, capsys):
    assert main(["train", *TINY, "--out", str(run)]) == 2
    assert "already holds a run" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["train", "evaluate", "games", "suite", "watch"])
def test_help_teaches(command, capsys):
    assert main([command, "--help"]) == 0
    output = capsys.readouterr().out
    assert f"examples:\n  rtpd {command}" in output
    if command == "train":
        for piece in ("--students", "--steps", "--resume", "net1.7"):
            assert piece in output


def test_layers_defaults_preset_file_flags(tmp_path, capsys):
    file = tmp_path / "file.toml"
    file.write_text("steps = 400\nseed = 5\nlog_steps = 100\n[replay]\nwarmup_steps = 240")
    out = tmp_path / "run"
    argv = ["train", *TINY, "--preset", "nature", "--config", str(file), "--seed", "7"]
    assert main([*argv, "--out", str(out), "--quiet"]) == 0
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["preset"] == "nature"
    config = manifest["config"]
    assert config["teacher"]["algorithm"] == "dqn"  # preset
    assert config["log_steps"] == 200  # flag over file
    assert config["seed"] == 7
    assert config["replay"]["warmup_steps"] == 200
    assert config["teacher"]["optimizer"]["name"] == "rmsprop"
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", presets())
def test_every_preset_is_valid(name):
    from rtpd.config.loading import load_config
    from rtpd.training.validation import validate

    validate(load_config(name))


def test_python_m_rtpd_is_the_same_command():
    done = subprocess.run(
        [sys.executable, "-m", "rtpd", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("rtpd 0.")
    assert set(envs.FAMILIES) == {"ale", "gym", "probe"}


def test_commands_that_are_printed_can_be_pasted(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", *TINY, "--out", "my first run"]) == 0
    said = capsys.readouterr().out
    commands = [line.removeprefix("next: ") for line in said.splitlines() if "next:" in line]
    assert commands[0] == "rtpd evaluate 'my first run'"
    for command in commands:
        assert main(shlex.split(command)[1:]) == 0, command
    assert main(["train", *TINY, "--out", "my first run", "--steps", "900"]) == 2
    assert "already holds a run" in capsys.readouterr().err
    assert typed("rtpd", "evaluate", Path("-x")) == "rtpd evaluate ./-x"


def test_commands_name_the_module_that_they_will_need(tmp_path, monkeypatch, capsys):
    source = "import gymnasium\nfrom gymnasium.envs.classic_control import CartPoleEnv\n"
    source += "gymnasium.register('RtpdDodge-v0', CartPoleEnv, max_episode_steps=50)\n"
    (tmp_path / "rtpd_dodge.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    out = str(tmp_path / "run")
    assert main(["train", "gym/rtpd_dodge:RtpdDodge-v0", *TINY[1:], "--out", out]) == 0
    said = capsys.readouterr().out
    assert f"next: RTPD_IMPORT=rtpd_dodge rtpd evaluate {out}\n" in said
    # As a new process would have it.
    monkeypatch.delitem(sys.modules, "rtpd_dodge")
    monkeypatch.delitem(gymnasium.registry, "RtpdDodge-v0")
    assert main(["evaluate", out]) == 2
    assert "set RTPD_IMPORT=rtpd_dodge" in capsys.readouterr().err
    monkeypatch.setenv("RTPD_IMPORT", "rtpd_dodge")
    assert main(["evaluate", out, "--episodes", "1"]) == 0


def test_an_unexpected_error_is_one_line_too(monkeypatch, capsys):
    def broken():
        raise ValueError("the disk\nis full")

    monkeypatch.setattr("rtpd.envs.ale.games", broken)
    assert main(["games"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "the disk" in err
    assert "RTPD_TRACEBACK" in err


@pytest.mark.parametrize(
    ("teacher", "preset"),
    [(None, "cpu"), ("pqn", "cpu"), ("ppo", "ppo-cpu"), ("c51", "double-dqn"), ("no", "cpu")],
)
def test_a_teacher_with_a_replay_gets_settings_for_one(teacher, preset):
    from rtpd.training.train import default_preset

    assert default_preset(teacher) == preset


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["distill", "a.onnx", "pong", "--teacher-scale", "abc"],
            "--teacher-scale: 'abc': allowed",
        ),
        (["train", "pong", "--teacher.gamma", "abc"], "--teacher.gamma: 'abc': allowed: a number"),
        (["suite", "a.toml", "--cores", "abc"], "--cores: 'abc' is no whole number"),
        (
            ["train", "pong", "--students", "net1.7:kl:late_updates=x"],
            "late_updates=x': student.late_updates 'x': allowed: a whole number",
        ),
        (
            ["train", "pong", "--students", "net1.7:kl:follow=x"],
            "follow=x': student.follow 'x': allowed: latest, ema, best",
        ),
    ],
)
def test_a_value_of_another_kind_is_told_with_what_is_allowed(words, said, capsys):
    assert main(words) == 2
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1
    assert "$" not in err and "Expected" not in err and "instantiated" not in err
