"""A suite file: its keys, and the first of them that is not right; `rtpd.suite` explains it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any

import msgspec

from rtpd.config.loading import from_dict, presets, read_toml
from rtpd.errors import ConfigError, unknown

Table = dict[str, Any]
Seeds = Annotated[
    list[Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]], msgspec.Meta(min_length=1)
]
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+=-]{0,99}")
ELSEWHERE = {
    "env": "games",
    "seed": "seeds",
    "preset": "preset, at the top or of a variant",
}


@dataclass(frozen=True)
class Suite:
    """What the file says; after `read` with a name, a list of seeds and at least one variant."""

    games: Annotated[list[str], msgspec.Meta(min_length=1)]
    seeds: Annotated[int, msgspec.Meta(ge=1, le=10_000)] | Seeds = 1
    name: str = ""
    preset: str | None = None
    settings: Table = field(default_factory=dict)
    game_settings: dict[str, Table] = field(default_factory=dict)
    variants: dict[str, Table] = field(default_factory=dict)

    def tables(self, game: str, variant: str) -> tuple[Table, Table, Table]:
        """What is set for all runs, for those of the game, and for those of the variant."""
        of_variant = _settings_of(self.variants[variant])
        return self.settings, self.game_settings.get(game, {}), of_variant


def read(file: Path) -> Suite:
    """A suite file whose own keys and texts are right; ConfigError names the file and the key.

    Whether there is such a game, and whether a value is in its range, `plan.experiments` sees.
    """
    data = read_toml(file)
    known = [f.name for f in fields(Suite)]
    for key in data:
        if key not in known:
            raise ConfigError(f"{file}: {unknown('key', key, known)}")
    try:
        suite = msgspec.convert(data, Suite)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{file}: {error}") from None
    seeds = list(range(suite.seeds)) if isinstance(suite.seeds, int) else suite.seeds
    name = suite.name or file.stem
    check_once(f"{file}: seeds", seeds)
    _check_name(f"{file}: name", name)
    _check_preset(f"{file}: preset", suite.preset)
    _check_table(f"{file}: settings", suite.settings)
    games = set(suite.games)
    for game, table in suite.game_settings.items():
        if game not in games:
            raise ConfigError(f"{file}: game_settings: {unknown('game', game, suite.games)}")
        _check_table(f"{file}: game_settings.{game}", table)
    trained = {name: None for name, table in suite.variants.items() if "distill" not in table}
    for variant, table in suite.variants.items():
        _check_name(f"{file}: variants", variant)
        _check_preset(f"{file}: variants.{variant}.preset", table.get("preset"))
        _check_table(f"{file}: variants.{variant}", _settings_of(table))
        _check_teacher(f"{file}: variants.{variant}.distill", table, trained)
    return replace(suite, name=name, seeds=seeds, variants=suite.variants or {"default": {}})


def check_once(where: str, values: list[Any]) -> None:
    """ConfigError if a value is there twice."""
    seen = set()
    for value in values:
        if value in seen:
            raise ConfigError(f"{where}: '{value}' is listed twice")
        seen.add(value)


def _settings_of(variant: Table) -> Table:
    return {key: value for key, value in variant.items() if key not in ("preset", "distill")}


def _check_teacher(where: str, variant: Table, trained: Mapping[str, None]) -> None:
    """ConfigError unless the variant that is to be distilled, if any, trains teachers."""
    name = variant.get("distill")
    if name is not None and not (isinstance(name, str) and name in trained):
        raise ConfigError(f"{where}: {unknown('variant with teachers of its own', name, trained)}")


def _check_table(where: str, table: Table) -> None:
    for key in ELSEWHERE:
        if key in table:
            raise ConfigError(f"{where}: '{key}' is not set here but in {ELSEWHERE[key]}")
    from_dict(table, where)


def _check_preset(where: str, preset: object) -> None:
    if preset is not None and preset not in presets():
        raise ConfigError(f"{where}: {unknown('preset', preset, presets())}")


def _check_name(where: str, text: str) -> None:
    if not NAME.fullmatch(text):
        raise ConfigError(
            f"{where}: '{text}' names a folder: allowed: letters, digits and . _ + = -, "
            "beginning with a letter or digit"
        )
