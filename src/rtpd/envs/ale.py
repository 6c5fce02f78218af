"""The Atari games of ale-py and their names; `emulator.py` plays them.

Names are told, listed and checked without JAX, and without ale-py where `ale.csv` knows its games.
"""

import difflib
import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from rtpd.envs.family import EnvFamily
from rtpd.envs.options import EnvOptions
from rtpd.envs.tables import read_table
from rtpd.errors import EnvError, unknown

if TYPE_CHECKING:
    import gymnasium

    from rtpd.envs.emulator import AleEnv, AleScreen

_GYMNASIUM_ID = re.compile(r"(?:ALE/)?(?P<game>\w+?)(?:NoFrameskip|Deterministic|-ram)*-v\d+")


class AleFamily(EnvFamily):
    """The games that one player can play."""

    def canonical(self, name: str) -> str:
        """ALE's snake_case spelling of a game: "MsPacman", "ms-pacman" -> "ms_pacman".

        "MsPacmanNoFrameskip-v4", which others wrap to what rtpd's defaults are, is the same.
        """
        plain = name.removesuffix("NoFrameskip-v4")
        return {_squash(game): game for game in games()}.get(_squash(plain), name)

    def check(self, name: str) -> None:
        """Raise EnvError unless `name` is a game that one player can play."""
        if name in games():
            return
        if game := game_of_id(name):
            raise EnvError(played_as(name, game))
        if near := difflib.get_close_matches(name, registered(), n=1, cutoff=0.8):
            raise EnvError(f"unknown game '{name}': did you mean 'gym/{near[0]}'?")
        raise EnvError(unknown("game", name, games()))

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
    return game if game in games() else None


def played_as(env_id: str, game: str) -> str:
    """What to tell somebody who knows a game by its Gymnasium id."""
    return (
        f"'{env_id}' is a game of Atari, which rtpd plays as '{game}': of its versions v0 and v5 "
        "have --environment.sticky-actions 0.25, v4 has not"
    )


@cache
def games() -> dict[str, int]:
    """Every game that one player can play, by ALE name, with the number of its own actions.

    ALE tells the number only by loading the ROM, at some 0.15 s each. So the known ones come
    from `ale.csv`, which a test compares with the emulator, and ale-py is asked only about others.
    """
    known = {row["game"]: int(row["num_actions"]) for row in read_table("ale.csv")}
    carried = _carried()
    for game in _for_one_player(carried - known.keys()):
        known[game] = count_actions(game)
    return {game: known[game] for game in sorted(carried) if known.get(game)}


def count_actions(game: str) -> int:
    """The number of a game's own actions, asked of the emulator."""
    import ale_py
    from ale_py import roms

    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
    ale = ale_py.ALEInterface()
    ale.loadROM(str(roms.get_rom_path(game)))
    return len(ale.getMinimalActionSet())


def registered() -> "dict[str, gymnasium.envs.registration.EnvSpec]":
    """What Gymnasium knows by its id, the games of ale-py among it."""
    import ale_py  # which registers them
    import gymnasium

    gymnasium.register_envs(ale_py)
    return gymnasium.registry


def _carried() -> set[str]:
    """The games whose ROMs ale-py carries, without importing it."""
    package = find_spec("ale_py")
    folders = package.submodule_search_locations if package else None
    return {rom.stem for folder in folders or () for rom in Path(folder).glob("roms/*.bin")}


def _for_one_player(games: set[str]) -> set[str]:
    """Those that ale-py registers with Gymnasium. Loading another one ends the process."""
    if not games:
        return games
    specs = registered().values()
    return games & {spec.kwargs["game"] for spec in specs if spec.namespace == "ALE"}


def _squash(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "").replace(" ", "")
