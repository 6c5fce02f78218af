"""Environments: `make("pong", 8, EnvOptions())`.

A name is `family/name`, and a bare name means `ale/`. A family is a module, imported on demand,
with three functions: `canonical(name) -> name`, `check(name)` and
`make(name, num_envs, options) -> VectorEnv`, whose `warnings`, if it has any, a run tells; one
whose games can be watched has also `screen(name, options) -> Screen | None`. To add one, write
it and add a line to `FAMILIES`.
"""

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

from rtpd.envs.common import EnvOptions
from rtpd.errors import EnvError, unknown

if TYPE_CHECKING:  # the command line reads EnvOptions and must not wait for JAX
    from rtpd.types import Screen, VectorEnv

__all__ = ["FAMILIES", "EnvOptions", "canonical", "check", "is_atari", "make", "screen", "short"]

FAMILIES = {"ale": "rtpd.envs.ale", "gym": "rtpd.envs.gym", "probe": "rtpd.envs.probe"}


def canonical(name: str) -> str:
    """The one spelling of an environment's name: "MsPacman" and "ale/ms-pacman" -> "ale/ms_pacman".

    A name that its family does not know comes back as it is, for `check` to refuse.

    Raises:
        EnvError: if there is no such family.
    """
    family, game, module = _find(name)
    return f"{family}/{module.canonical(game)}"


def short(name: str) -> str:
    """What a game is called beside others: "ale/pong" -> "pong"."""
    return name.rpartition("/")[2]


def is_atari(name: str) -> bool:
    """Whether a game is one of ale-py's, for which the presets of Atari are made."""
    family, slash, _ = name.partition("/")
    return not slash or family.lower() == "ale"


def check(name: str, options: EnvOptions) -> None:
    """See whether `make` would know the name, without starting an emulator.

    `options` have been checked when they were made; they are asked for because whether a name is
    playable may come to depend on them.

    Raises:
        EnvError: if the family, the game or the id is unknown or has unsupported spaces.
    """
    del options
    _, game, module = _find(name)
    module.check(module.canonical(game))


def make(name: str, num_envs: int, options: EnvOptions) -> "VectorEnv":
    """Start `num_envs` copies of an environment; they are idle until `reset`.

    Raises:
        EnvError: if the name or `num_envs` cannot be met.
    """
    if num_envs < 1:
        raise EnvError(f"num_envs is {num_envs}: allowed: 1 or more")
    check(name, options)
    _, game, module = _find(name)
    return module.make(module.canonical(game), num_envs, options)


def screen(name: str, options: EnvOptions) -> "Screen | None":
    """Pictures for people of the first env that `make(name, ..., options)` makes.

    It keeps in step if it is given the same seed and every action; None where there are none.
    """
    _, game, module = _find(name)
    found = getattr(module, "screen", None)
    return found(module.canonical(game), options) if found else None


def _find(name: str) -> tuple[str, str, ModuleType]:
    """Split "family/name" and import the family."""
    family, slash, game = name.partition("/")
    if not slash:
        family, game = "ale", name
    family = family.lower()
    if family not in FAMILIES:
        raise EnvError(unknown("env family", family, FAMILIES))
    return family, game, import_module(FAMILIES[family])
