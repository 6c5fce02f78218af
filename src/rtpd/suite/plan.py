"""What a suite file asks for: a grid of runs, each with its complete settings."""

import json
import multiprocessing
import re
import signal
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import msgspec

from rtpd.config import Config, from_dict, layered, presets, read_toml, to_dict
from rtpd.errors import ConfigError, RtpdError, unknown

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
    """A suite file; `rtpd.suite` explains the keys."""

    games: Annotated[list[str], msgspec.Meta(min_length=1)]
    seeds: Annotated[int, msgspec.Meta(ge=1, le=10_000)] | Seeds = 1
    name: str = ""
    preset: str | None = None
    settings: Table = field(default_factory=dict)
    game_settings: dict[str, Table] = field(default_factory=dict)
    variants: dict[str, Table] = field(default_factory=dict)


@dataclass(frozen=True)
class Cell:
    """A game and a variant, with the settings that all its seeds share (`env` is the game)."""

    game: str
    variant: str
    preset: str
    config: Config


@dataclass(frozen=True, eq=False)
class Job:
    """One run of the grid."""

    cell: Cell
    config: Config
    folder: Path

    @property
    def label(self) -> str:
        """What it is called, and where it is in the suite's folder: pong/default/seed-0."""
        return "/".join(self.folder.parts[-3:])

    @property
    def log(self) -> Path:
        """What it printed."""
        return self.folder.with_name(f"{self.folder.name}.log")

    @property
    def settings(self) -> Path:
        """Its settings, written before it starts: the mark of a folder that the suite made."""
        return self.folder.with_name(f"{self.folder.name}.toml")


def read(file: Path) -> Suite:
    """A suite file whose own keys and texts are right; ConfigError names the file and the key.

    Whether there is such a game, and whether a value is in its range, is for `cells` to see.
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
    _check_once(f"{file}: seeds", seeds)
    _check_name(f"{file}: name", name)
    _check_preset(f"{file}: preset", suite.preset)
    _check_table(f"{file}: settings", suite.settings)
    for game, table in suite.game_settings.items():
        if game not in suite.games:
            raise ConfigError(f"{file}: game_settings: {unknown('game', game, suite.games)}")
        _check_table(f"{file}: game_settings.{game}", table)
    for variant, table in suite.variants.items():
        _check_name(f"{file}: variants", variant)
        _check_preset(f"{file}: variants.{variant}.preset", table.get("preset"))
        _check_table(f"{file}: variants.{variant}", _settings_of(table))
    return replace(suite, name=name, seeds=seeds, variants=suite.variants or {"default": {}})


def jobs_of(file: Path, suite: Suite, out: Path) -> list[Job]:
    """Every run of the suite; ConfigError or EnvError names what cannot be.

    Seed by seed, so that a suite that is stopped early has compared as much as it could.
    The checks need JAX, which this process does without: it may stay for days beside trainings.
    """
    context = multiprocessing.get_context("spawn")
    ignore = partial(signal.signal, signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for this process
    with ProcessPoolExecutor(1, context, initializer=ignore) as pool:
        grid = pool.submit(cells, file, suite).result()
    assert isinstance(suite.seeds, list)  # `read` has made it one
    return [
        Job(
            cell,
            replace(cell.config, seed=seed),
            out / _folder(cell.game) / cell.variant / f"seed-{seed}",
        )
        for seed in suite.seeds
        for cell in grid
    ]


def cells(file: Path, suite: Suite) -> list[Cell]:
    """Every game with every variant, checked as `rtpd train` would check it."""
    found = []
    for game in suite.games:
        for variant, table in suite.variants.items():
            tables = (suite.settings, suite.game_settings.get(game, {}), _settings_of(table))
            preset = table.get("preset", suite.preset)
            try:
                found.append(_cell(game, variant, preset, tables))
            except RtpdError as error:
                raise type(error)(f"{file}: {game}, variant '{variant}': {error}") from None
    _check_once(f"{file}: games", [cell.game for cell in found[:: len(suite.variants)]])
    return found


def _cell(game: str, variant: str, preset: str | None, tables: tuple[Table, ...]) -> Cell:
    """The settings of one cell as the manifest of its runs will have them."""
    from rtpd import agents
    from rtpd.lane import emulators
    from rtpd.learner import Learner
    from rtpd.validate import check_alike, default_preset, resolve, validate

    if preset is None:
        teachers = [table["teacher"] for table in tables if "teacher" in table]
        preset = default_preset(teachers[-1] if teachers else None)
    config = replace(layered(preset, *tables), env=game)
    validate(config)
    with emulators(replace(config, num_envs=1)) as lanes:
        specs = {game: env.spec for game, env in lanes.items()}
    check_alike(specs)
    config = resolve(config, is_image=next(iter(specs.values())).is_image)
    agents.describe(Learner(config, specs))  # every net can be built
    return Cell(config.env, variant, preset, config)


def flat(table: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """Settings by their dotted keys."""
    found: dict[str, Any] = {}
    for key, value in table.items():
        nested = isinstance(value, Mapping)
        found |= flat(value, f"{path}{key}.") if nested else {path + key: value}
    return found


def as_toml(config: Config) -> str:
    """The complete settings, a line each; JSON writes these values as TOML does."""
    pairs = flat(to_dict(config)).items()
    return "".join(f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in pairs)


def _settings_of(variant: Table) -> Table:
    return {key: value for key, value in variant.items() if key != "preset"}


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


def _check_once(where: str, values: list[Any]) -> None:
    for i, value in enumerate(values):
        if value in values[:i]:
            raise ConfigError(f"{where}: '{value}' is listed twice")


def _folder(game: str) -> str:
    """A game as the name of a folder: ale/pong -> pong, gym/CartPole-v1 -> gym-CartPole-v1."""
    return re.sub(r"[^A-Za-z0-9._+=-]", "-", game.replace("ale/", ""))
