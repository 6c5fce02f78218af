"""Environments: `make("pong", 8, EnvOptions())`.

A name is `family/name`, and a bare name means `ale/`. To add a family, write an `EnvFamily` and add
a line to `FAMILIES`; it is imported on demand.
"""

from pkgutil import resolve_name
from typing import TYPE_CHECKING

from rtpd.envs.family import EnvFamily
from rtpd.envs.options import EnvOptions
from rtpd.errors import EnvError, unknown

if TYPE_CHECKING:  # the command line must not wait for JAX
    from rtpd.types import Screen, VectorEnv

__all__ = [
    "FAMILIES", "EnvFamily", "EnvOptions", "canonical", "check", "is_atari", "make", "screen",
    "short",
]  # fmt: skip

# Where the class of each is: "module:Class".
FAMILIES = {
    "ale": "rtpd.envs.ale:AleFamily",
    "gym": "rtpd.envs.gym:GymFamily",
    "probe": "rtpd.envs.probe:ProbeFamily",
}


def canonical(name: str) -> str:
    """The one spelling of an environment's name: "MsPacman" and "ale/ms-pacman" -> "ale/ms_pacman".

    A name that its family does not know comes back as it is, for `check` to refuse.

    Raises:
        EnvError: if there is no such family.
    """
    family, kind, game = _find(name)
    return f"{family}/{kind.canonical(game)}"


def short(name: str) -> str:
    """What a game is called beside others: "ale/pong" -> "pong"."""
    return name.rpartition("/")[2]


def is_atari(name: str) -> bool:
    """Whether a game is one of ale-py's, for which the presets of Atari are made."""
    family, slash, _ = name.partition("/")
    return not slash or family.lower() == "ale"


def check(name: str) -> None:
    """See whether `make` would know the name, without starting an emulator.

    Raises:
        EnvError: if the family, the game or the id is unknown or has unsupported spaces.
    """
    _, kind, game = _find(name)
    kind.check(kind.canonical(game))


def make(name: str, num_envs: int, options: EnvOptions) -> "VectorEnv":
    """Start `num_envs` copies of an environment; they are idle until `reset`.

    Raises:
        EnvError: if the name or `num_envs` cannot be met.
    """
    if num_envs < 1:
        raise EnvError(f"num_envs is {num_envs}: allowed: 1 or more")
    check(name)
    _, kind, game = _find(name)
    return kind.make(kind.canonical(game), num_envs, options)


def screen(name: str, options: EnvOptions) -> "Screen | None":
    """Pictures for people of the first env that `make(name, ..., options)` makes.

    It keeps in step if it is given the same seed and every action; None where there are none.
    """
    _, kind, game = _find(name)
    return kind.screen(kind.canonical(game), options)


def _find(name: str) -> tuple[str, EnvFamily, str]:
    """Split "family/name"; the family's name, itself and the rest."""
    family, slash, game = name.partition("/")
    if not slash:
        family, game = "ale", name
    family = family.lower()
    if family not in FAMILIES:
        raise EnvError(unknown("env family", family, FAMILIES))
    return family, resolve_name(FAMILIES[family])(), game
