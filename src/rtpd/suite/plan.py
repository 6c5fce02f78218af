"""What a suite file asks for: a grid of runs, each with its complete settings."""

import json
import multiprocessing
import os
import re
import signal
from collections.abc import Collection, Generator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import msgspec

from rtpd.config.loading import flat, from_dict, layered, presets, read_toml, to_dict
from rtpd.config.settings import Config
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
class Experiment:
    """A game and a variant, with the settings that all its seeds share (`env` is the game)."""

    game: str
    variant: str
    preset: str
    config: Config
    teacher: str | None = None
    """the variant whose teacher it distils (two stages)"""
    unused: frozenset[str] = frozenset()
    """settings that its teacher does not use, which are left to the preset"""


@dataclass(frozen=True, eq=False)
class Job:
    """One run of the grid."""

    experiment: Experiment
    config: Config
    folder: Path
    teacher: Path | None = None
    """the run that must be finished before, since its teacher is distilled"""

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

    Whether there is such a game, and whether a value is in its range, is for `experiments` to see.
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


def jobs_of(file: Path, suite: Suite, out: Path) -> list[Job]:
    """Every run of the suite; ConfigError or EnvError names what cannot be.

    The checks need JAX, which this process does without: it may stay for days beside trainings.
    """
    context = multiprocessing.get_context("spawn")
    ignore = partial(signal.signal, signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for this process
    with _safe_path(), ProcessPoolExecutor(1, context, initializer=ignore) as pool:
        grid = pool.submit(experiments, file, suite).result()
    assert isinstance(suite.seeds, list)  # `read` has made it one
    return [
        Job(
            experiment,
            replace(experiment.config, seed=seed),
            _run(out, experiment, experiment.variant, seed),
            _run(out, experiment, experiment.teacher, seed) if experiment.teacher else None,
        )
        for experiment in grid
        for seed in suite.seeds
    ]


@contextmanager
def _safe_path() -> Generator[None]:
    """Pythons started inside do not look for modules in the current folder (-P) before they begin.

    `multiprocessing` starts its own with -c, which puts that folder first; then it hands over the
    path of this one, by which a module that the user may import is found all the same.
    """
    before = os.environ.get("PYTHONSAFEPATH")
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONSAFEPATH"]
        else:
            os.environ["PYTHONSAFEPATH"] = before


def experiments(file: Path, suite: Suite) -> list[Experiment]:
    """Every game with every variant, checked as `rtpd train` would check it."""
    from rtpd.system.process import settled

    found: dict[tuple[str, str], Experiment] = {}
    order = [(game, variant) for game in suite.games for variant in suite.variants]
    # What is distilled comes after the run that its teacher is from.
    for game, variant in sorted(order, key=lambda key: "distill" in suite.variants[key[1]]):
        table = suite.variants[variant]
        source = found[game, table["distill"]] if "distill" in table else None
        try:
            with settled():
                found[game, variant] = _experiment(suite, game, variant, source)
        except RtpdError as error:
            raise type(error)(f"{file}: {game}, variant '{variant}': {error}") from None
    grid = [found[key] for key in order]
    _check_once(f"{file}: games", [experiment.game for experiment in grid[:: len(suite.variants)]])
    return grid


def _experiment(suite: Suite, game: str, variant: str, source: Experiment | None) -> Experiment:
    """The settings of one experiment as the manifest of its runs will have them.

    `source` is the experiment whose teachers it distils.
    """
    from rtpd.learning.teachers import gives_q
    from rtpd.learning.update import Learner
    from rtpd.training import distill, snapshots, validation
    from rtpd.training.collector import emulators
    from rtpd.training.unused import check_used, unused

    table = suite.variants[variant]
    tables = (suite.settings, suite.game_settings.get(game, {}), _settings_of(table))
    preset = table.get("preset", distill.PRESET if source else suite.preset)
    if preset is None:
        chosen = [table.get("teacher", {}).get("algorithm") for table in tables]
        preset = validation.default_preset(next(filter(None, reversed(chosen)), None), game)
    config = given = replace(layered(preset, *tables), env=game)
    has_q = gives_q((source.config if source else config).teacher.algorithm)
    if source:
        learnt = source.config
        config = distill.adapted(config, learnt.env, learnt.environment, learnt.teacher.net)
        validation.check_followed(config, f"teacher '{learnt.teacher.algorithm}'", has_q=has_q)
    validation.validate(config, None)
    # What is set for all variants is for those that use it.
    check_used(given, layered(preset, *tables[:2]), has_q=has_q)
    with emulators(replace(config, num_envs=1)) as emulated:
        specs = {game: env.spec for game, env in emulated.items()}
    validation.check_alike(specs)
    config = validation.resolve(config, is_image=next(iter(specs.values())).is_image)
    snapshots.describe(Learner(config, specs))  # every net can be built
    teacher = source.variant if source else None
    ignored = unused(config, has_q=has_q)
    return Experiment(config.env, variant, preset, config, teacher, ignored)


def as_toml(config: Config, unused: Collection[str] = ()) -> str:
    """The complete settings, a line each; JSON writes these values as TOML does."""
    pairs = {key: value for key, value in flat(to_dict(config)).items() if key not in unused}
    return "".join(
        f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in pairs.items()
    )


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


def _check_once(where: str, values: list[Any]) -> None:
    seen = set()
    for value in values:
        if value in seen:
            raise ConfigError(f"{where}: '{value}' is listed twice")
        seen.add(value)


def _run(out: Path, experiment: Experiment, variant: str, seed: int) -> Path:
    return out / _folder(experiment.game) / variant / f"seed-{seed}"


def _folder(game: str) -> str:
    """A game as the name of a folder: ale/pong -> pong, gym/CartPole-v1 -> gym-CartPole-v1."""
    return re.sub(r"[^A-Za-z0-9._+=-]", "-", game.replace("ale/", ""))
