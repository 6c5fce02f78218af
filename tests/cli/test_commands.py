"""Every command: its place in the list, its help, its errors, what a shell completes of it."""

import dataclasses
import subprocess
import sys

import pytest

from rtpd.cli.agents import PlayCommand
from rtpd.cli.command import Command
from rtpd.cli.commands import COMMANDS, usage
from rtpd.cli.main import main
from rtpd.cli.parsing import flags_of
from rtpd.errors import error_line


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_complete(name):
    entry = COMMANDS[name]
    assert issubclass(entry.kind, Command) and dataclasses.is_dataclass(entry.kind)
    assert entry.usage.split()[0] == name and entry.kind.__doc__
    assert f"rtpd {name}" in entry.examples
    assert f"\n  rtpd {entry.usage}" in usage()


JAX = """import sys
from rtpd.cli.main import main
try:
    code = main(sys.argv[1:])
except SystemExit as stop:
    code = stop.code
assert "jax" not in sys.modules
sys.exit(code)"""


def without_jax(words):
    return subprocess.run([sys.executable, "-c", JAX, *words], capture_output=True, text=True)


@pytest.mark.parametrize("words", ["--help", "--version", "games", "zoo", "train --help"])
def test_what_needs_no_jax_does_not_wait_for_it(words):
    done = without_jax(words.split())
    assert done.returncode == 0 and done.stdout and not done.stderr


def test_an_unknown_flag_is_told_without_jax():
    done = without_jax(["play", "zoo:pong/net1.7", "--agnet", "x"])
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
    flags = flags_of(PlayCommand)
    fields = {f.name for f in dataclasses.fields(PlayCommand)} - {"source"}
    wanted = {f"--{name.replace('_', '-')}" for name in fields}
    assert set(flags) == wanted | {"--help", "--no-live", "--no-json"}
