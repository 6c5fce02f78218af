"""The Atari games of ale-py and their names; `emulator.py` plays them.

Names are told, listed and checked without JAX.
"""

import difflib
import re
from functools import cache
from typing import TYPE_CHECKING

import ale_py
import gymnasium
from ale_py import roms

from rtpd.envs.family import EnvFamily
from rtpd.envs.options import EnvOptions
from rtpd.envs.tables import read_table
from rtpd.errors import EnvError, unknown

if TYPE_CHECKING:
    from rtpd.envs.emulator import AleEnv, AleScreen

_GYMNASIUM_ID = re.compile(r"(?:ALE/)?(?P<game>\w+?)(?:NoFrameskip|Deterministic|-ram)*-v\d+")


class AleFamily(EnvFamily):
    """The games that one player can play."""

    def canonical(self, name: str) -> str:
        """ALE's snake_case spelling of a game: "MsPacman", "ms-pacman" -> "ms_pacman".

        "MsPacmanNoFrameskip-v4", which others wrap to what rtpd's defaults are, is the same.
        """
        plain = name.removesuffix("NoFrameskip-v4")
        return {_squash(game): game for game in _playable()}.get(_squash(plain), name)

    def check(self, name: str) -> None:
        """Raise EnvError unless `name` is a game that one player can play."""
        if name in _playable():
            return
        if game := game_of_id(name):
            raise EnvError(played_as(name, game))
        if near := difflib.get_close_matches(name, gymnasium.registry, n=1, cutoff=0.8):
            raise EnvError(f"unknown game '{name}': did you mean 'gym/{near[0]}'?")
        raise EnvError(unknown("game", name, _playable()))

    def make(self, name: str, num_envs: int, options: EnvOptions) -> "AleEnv":
        """Start the emulators of `num_envs` games."""
        from rtpd.envs.emulator import AleEnv

        return AleEnv(name, num_envs, options)

    def screen(self, name: str, options: EnvOptions) -> "AleScreen":
        """A screen for the first env of `make(name, ..., options)`."""
        from rtpd.envs.emulator import AleScreen

        return AleScreen(name, options)


def game_of_id(env_id: str) -> str | None:
    """The game that Gymnasium calls "ALE/Pong-v5", "PongNoFrameskip-v4", ...; None if none."""
    found = _GYMNASIUM_ID.fullmatch(env_id)
    game = AleFamily().canonical(found["game"]) if found else None
    return game if game in _playable() else None


def played_as(env_id: str, game: str) -> str:
    """What to tell somebody who knows a game by its Gymnasium id."""
    return (
        f"'{env_id}' is a game of Atari, which rtpd plays as '{game}': of its versions v0 and v5 "
        "have --environment.sticky-actions 0.25, v4 has not"
    )


@cache
def games() -> dict[str, int]:
    """Every game, by ALE name, with the number of its own actions.

    ALE tells the number only by loading the ROM, at some 0.15 s each. So the known ones come
    from `ale.csv`, which a test compares with the emulator, and only new ones are loaded.
    """
    known = {row["game"]: int(row["num_actions"]) for row in read_table("ale.csv")}
    return {game: known.get(game) or count_actions(game) for game in _playable()}


def count_actions(game: str) -> int:
    """The number of a game's own actions, asked of the emulator."""
    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
    ale = ale_py.ALEInterface()
    ale.loadROM(str(roms.get_rom_path(game)))
    return len(ale.getMinimalActionSet())


@cache
def _playable() -> tuple[str, ...]:
    """Games for one player, sorted: those that ale-py registers with Gymnasium.

    Of the ROMs that it carries a few are for two players; loading one ends the process.
    """
    specs = gymnasium.registry.values()
    return tuple(sorted(spec.kwargs["game"] for spec in specs if spec.namespace == "ALE"))


def _squash(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "").replace(" ", "")
