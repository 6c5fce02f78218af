"""Every command: its place in the list, its help, its errors, what a shell completes of it."""

import dataclasses
import inspect
import pkgutil
import subprocess
import sys

import pytest

from rtpd.cli.agents import PlayCommand
from rtpd.cli.command import Command
from rtpd.cli.commands import COMMANDS, usage
from rtpd.cli.flags import flag_names
from rtpd.cli.main import main
from rtpd.errors import error_line
from rtpd.storage.run_folder import Run


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_complete(name):
    entry = COMMANDS[name]
    assert issubclass(entry.kind, Command) and dataclasses.is_dataclass(entry.kind)
    assert entry.usage.split()[0] == name and entry.kind.__doc__
    assert f"rtpd {name}" in entry.examples
    assert f"\n  rtpd {entry.usage}" in usage()


BEHIND = {  # the functions that commands call, to which they hand their flags by name
    "bench": "training.bench.bench",
    "evaluate": "agents.evaluate.evaluate",
    "export": "export.export",
    "play": "agents.play.play",
    "report": "report.report",
    "suite": "suite.run_suite",
    "train": "training.train.train",
    "watch": "watch.watch",
}


@pytest.mark.parametrize("name", BEHIND)
def test_a_flag_s_default_is_that_of_the_function_behind(name):
    signature = inspect.signature(pkgutil.resolve_name(f"rtpd.{BEHIND[name]}"))
    flags = {field.name: field.default for field in dataclasses.fields(COMMANDS[name].kind)}
    shared = flags.keys() & signature.parameters.keys()
    here = {flag: flags[flag] for flag in shared if flags[flag] is not dataclasses.MISSING}
    assert here
    assert here == {flag: signature.parameters[flag].default for flag in here}


HEAVY = ("jax", "equinox", "optax", "gymnasium", "ale_py", "matplotlib", "torch", "ray", "onnx")
LIGHT = f"""import sys
from rtpd.cli.main import main
try:
    code = main(sys.argv[1:])
except SystemExit as stop:
    code = stop.code
found = sorted(set({HEAVY}) & set(sys.modules))
assert not found, found
sys.exit(code)"""
LISTINGS = ("--help", "--version", "games", "teachers --json", "zoo", "completion bash")


def run_lightly(words, **options):
    command = [sys.executable, "-c", LIGHT, *words]
    return subprocess.run(command, capture_output=True, text=True, **options)


@pytest.mark.parametrize("words", [*LISTINGS, *(f"{name} --help" for name in COMMANDS)])
def test_what_only_tells_imports_nothing_that_learns_plays_or_draws(words):
    done = run_lightly(words.split())
    assert done.returncode == 0 and done.stdout and not done.stderr


def test_runs_are_listed_as_lightly(tmp_path):
    run = Run.create(tmp_path / "runs/a", {"config": {"env": "ale/pong"}, "status": "finished"})
    run.append({"kind": "train", "step": 100})
    run.append({"kind": "eval", "step": 100, "agents": {"teacher": {"mean": 3.0}}})
    done = run_lightly(["ls"], cwd=tmp_path)
    assert done.returncode == 0 and "pong" in done.stdout and not done.stderr


def test_an_unknown_flag_is_told_run_lightly():
    done = run_lightly(["play", "zoo:pong/net1.7", "--agnet", "x"])
    assert done.returncode == 2 and "did you mean --agent?" in done.stderr


def test_words_are_not_a_flag(capsys):
    assert main(["train", "pong", "--words", "x"]) == 2
    assert "--words" in capsys.readouterr().err


def test_an_error_is_one_line():
    assert error_line(ValueError("bad\x1b[31m\nname")) == r"rtpd: error: bad\x1b[31m\nname"
    assert error_line(ValueError()) == "rtpd: error: ValueError"


def test_bash_completes_commands_flags_and_names(tmp_path, capsys):
    assert main(["completion", "bash"]) == 0
    (tmp_path / "rtpd.bash").write_text(capsys.readouterr().out)
    ask = (
        "source rtpd.bash; COMP_WORDS=($1); COMP_CWORD=$((${#COMP_WORDS[@]}-1)); _rtpd; "
        "echo ${COMPREPLY[@]}"
    )

    def completed(words):
        done = subprocess.run(["bash", "-c", ask, "-", words], cwd=tmp_path, capture_output=True)
        assert not done.stderr
        return done.stdout.decode().split()

    assert completed("rtpd pl") == ["play"]
    assert completed("rtpd play --versus-") == ["--versus-agent"]
    assert completed("rtpd train --preset demo") == ["demo"]
    assert completed("rtpd train breako") == ["breakout"]
    assert "--teacher.optimizer.eps" in completed("rtpd train --teacher.")
    for name in COMMANDS:
        assert completed(f"rtpd {name}") == [name]
    assert main(["completion", "fish"]) == 2
    assert "allowed: bash" in capsys.readouterr().err


def test_every_flag_of_a_command_is_completed():
    flags = flag_names(PlayCommand)
    fields = {f.name for f in dataclasses.fields(PlayCommand)} - {"source"}
    wanted = {f"--{name.replace('_', '-')}" for name in fields}
    assert set(flags) == wanted | {"--help", "--help-all", "--no-live", "--no-json"}
