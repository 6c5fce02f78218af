"""Help: a screen of what matters, all of it where that is asked for, and no word cut."""

import contextlib
import io
import re

import pytest
import tyro

from rtpd.cli.commands import COMMANDS
from rtpd.cli.flags import flag_names, flags_of
from rtpd.cli.help import help_of
from rtpd.cli.main import main

SCREEN = 44  # lines of a terminal that is not small


def helped(name, *, everything, width):
    entry = COMMANDS[name]
    return help_of(name, entry, entry.kind.defaults(["--help"]), everything=everything, width=width)


def told_by_tyro(kind):
    """Every flag that tyro takes, as its own help lists them."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        tyro.cli(kind, args=["--help"])
    heads = re.findall(r"^[│ ] (?:-\w, )?(--.*)", said.getvalue(), re.MULTILINE)
    return {flag for head in heads for flag in re.findall(r"(?:^|, )(--[a-z][\w.-]*)", head)}


@pytest.mark.parametrize("name", COMMANDS)
def test_flags_are_those_that_tyro_takes(name):
    kind = COMMANDS[name].kind
    assert {*flag_names(kind)} == told_by_tyro(kind) | {"--help-all"}


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("everything", [False, True])
@pytest.mark.parametrize("width", [80, 120])
def test_lines_fit_and_words_are_whole(name, everything, width):
    text = helped(name, everything=everything, width=width)
    assert max(map(len, text.splitlines())) <= width
    assert text.split() == helped(name, everything=everything, width=10**6).split()


@pytest.mark.parametrize("name", COMMANDS)
def test_the_short_help_is_one_screen_and_names_the_long_one(name):
    lines = helped(name, everything=False, width=80).splitlines()
    assert len(lines) <= SCREEN
    assert ("--help-all" in lines[-1]) == bool(COMMANDS[name].kind.brief)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_long_help_tells_of_every_flag_once(name):
    lines = helped(name, everything=True, width=10**6).splitlines()
    for flag in flags_of(COMMANDS[name].kind):
        assert flag.text, flag
        (typed, *_) = flag.names or [flag.metavar]
        heads = (f"  {typed} ", f"  {typed}, ", f"  [{typed}] ")
        (line,) = [line for line in lines if line.startswith(heads)]
        assert line.count("(default") <= 1
        if flag.names and isinstance(flag.default, str | float) and flag.default:
            assert "default" in line


def test_the_short_help_of_a_training_has_what_matters():
    text = helped("train", everything=False, width=80)
    for flag in ("[GAME]", "--students", "--steps", "--seed", "--preset", "--out", "--teacher",
                 "--num-envs", "--resume"):  # fmt: skip
        assert f"  {flag}" in text
    assert "--rollout.steps" not in text
    assert "--rollout.steps INT" in helped("train", everything=True, width=80)


def test_defaults_are_those_of_the_preset_that_is_named(capsys):
    assert main(["train", "--preset", "nature", "--help"]) == 0
    assert "(default: dqn)" in " ".join(capsys.readouterr().out.split())
    assert main(["train", "--help-all"]) == 0
    assert "--rollout.steps" in capsys.readouterr().out
