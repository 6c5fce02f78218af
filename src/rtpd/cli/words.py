"""What words on a command line say before they are parsed: presets come before flags."""

from collections.abc import Sequence
from pathlib import Path

from rtpd.config.loading import load_config, read_toml
from rtpd.config.settings import Config
from rtpd.envs import FAMILIES
from rtpd.errors import ConfigError


def before_flags(words: list[str]) -> tuple[str | None, Config]:
    """The preset, and what it and a TOML file make of the settings before the flags."""
    preset, file = value_of(words, "--preset"), value_of(words, "--config")
    if preset is None and value_of(words, "--resume") is None:
        preset = "cpu" if asks_help(words) else _default_preset(words, Path(file) if file else None)
    return preset, load_config(preset, Path(file) if file else None)


def asks_help(words: Sequence[str]) -> bool:
    """Whether the help is asked for, which must not wait for JAX."""
    return not {"-h", "--help", "--help-all"}.isdisjoint(words)


def _default_preset(words: list[str], file: Path | None) -> str:
    """The one that fits the game and the teacher, whether a flag names them or the file."""
    from rtpd.training.train import default_preset

    said = load_config(None, file)
    chosen = read_toml(file).get("teacher", {}).get("algorithm") if file else None
    teacher = value_of(words, "--teacher") or value_of(words, "--teacher.algorithm") or chosen
    before, paths = ["", *words], ("--out", "--config", "--resume")  # they may look like games
    named = (arg for arg, flag in zip(words, before, strict=False) if flag not in paths)
    games = [arg for arg in named if "/" in arg and arg.partition("/")[0].lower() in FAMILIES]
    flagless = [arg for arg in words[:1] if not arg.startswith("-")]
    env = next(iter(flagless or games), said.env)
    return default_preset(teacher, env)


def check_resume_flags(words: Sequence[str]) -> None:
    """A resumed run keeps its settings, so flags that would be ignored are refused."""
    allowed = ("--resume", "--steps", "--minutes", "--on-divergence", "--quiet", "--track")
    for arg in words:
        name = arg.partition("=")[0]
        if name.startswith("--") and name.replace("_", "-") not in allowed:
            raise ConfigError(f"{name} does not go with --resume: allowed: {', '.join(allowed)}")
    if words and not words[0].startswith("-"):
        raise ConfigError(f"'{words[0]}' does not go with --resume: the run knows its environment")


def value_of(words: Sequence[str], name: str) -> str | None:
    """The value that follows a flag, before the real parse; None if it is not there."""
    for i, arg in enumerate(words):
        if arg == name:
            return words[i + 1] if i + 1 < len(words) else None
        if arg.startswith(f"{name}="):
            return arg.partition("=")[2]
    return None
