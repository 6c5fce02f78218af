"""From presets, TOML files and tables to a Config: defaults < preset < file < flags."""

import tomllib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache, reduce
from importlib import resources
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec

from rtpd.config.settings import Config
from rtpd.errors import (
    CheckpointError,
    ConfigError,
    EnvError,
    RequestError,
    shortened,
    told,
    unknown,
)
from rtpd.storage.files import contents

MOST_TOML_BYTES = 2**18
MOST_DOTS = 100  # on a line: for a key of n parts tomllib takes memory in proportion to n^2


@cache
def presets() -> dict[str, Path]:
    """The presets that ship with rtpd, by name."""
    folder = Path(str(resources.files("rtpd.config") / "presets"))
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def load_config(preset: str | None = None, file: Path | None = None) -> Config:
    """Defaults, under a preset, under a TOML file. ConfigError names the file and key."""
    return layered(preset, *([_read(file)] if file else []))


def layered(preset: str | None, *tables: Mapping[str, Any]) -> Config:
    """Defaults, under a preset, under tables of settings, the last one on top."""
    data: dict[str, Any] = {}
    if preset is not None:
        if preset not in presets():
            raise ConfigError(unknown("preset", preset, presets()))
        data = _read(presets()[preset])
    return from_dict(reduce(_merge, tables, data))


def from_dict(data: Mapping[str, Any], source: str = "settings") -> Config:
    """A Config from nested tables over the defaults; unknown keys and wrong types are refused."""
    try:
        _refuse_unknown(data, Config, source)
        return msgspec.convert(whole(_merge(to_dict(Config()), data), Config), Config)
    except (ValueError, EnvError) as error:  # of the schema, or of half a character
        raise ConfigError(f"{source}: {_mismatch(str(error), data) or error}") from None
    except RecursionError:
        raise ConfigError(f"{source}: it is nested too deeply") from None


_KINDS = {
    int: "a whole number (int)",
    float: "a number (float)",
    bool: "true or false",
    str: "a text",
}


def _mismatch(error: str, data: Mapping[str, Any]) -> str | None:
    """What msgspec says of a value of another type: the key, the value, what is allowed."""
    _, _, path = error.partition(" - at `$.")
    value: Any = data
    kind: Any = Config
    for key in path.removesuffix("`").split("."):
        if not isinstance(value, Mapping) or key not in value or not is_dataclass(kind):
            return None
        value, kind = value[key], get_type_hints(kind)[key]
    allowed = _KINDS.get(kind) or ", ".join(map(str, get_args(kind)))
    plain = kind in _KINDS or get_origin(kind) is Literal
    if not plain or isinstance(value, Mapping | list):
        return None
    return f"{path.removesuffix('`')} {shortened(repr(value), 100)}: allowed: {allowed}"


def to_dict(config: Config) -> dict[str, Any]:
    """Nested JSON-ready tables; `from_dict` takes them back."""
    return msgspec.to_builtins(config)


def flat(table: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """Settings by their dotted keys."""
    found: dict[str, Any] = {}
    for key, value in table.items():
        nested = isinstance(value, Mapping)
        found |= flat(value, f"{path}{key}.") if nested else {path + key: value}
    return found


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file; ConfigError in one line if it cannot be read."""
    try:
        data = contents(path, MOST_TOML_BYTES)
        dots = max(line.count(b".") for line in data.split(b"\n"))
        if dots > MOST_DOTS:
            raise ConfigError(f"{path}: a line has {dots:,} dots: allowed: {MOST_DOTS}")
        table = tomllib.loads(data.decode("utf-8-sig"))  # some editors begin with a mark
        _refuse_long_numbers(table, path)
        return table
    except ConfigError:
        raise
    except (RequestError, CheckpointError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from None
    except ValueError as error:  # of the syntax, of UTF-8, or a number of thousands of digits
        raise ConfigError(f"{path} is not TOML: {error}") from None
    except RecursionError:
        raise ConfigError(f"{path} is not TOML: it is nested too deeply") from None


def _refuse_long_numbers(value: object, path: Path, key: str = "") -> None:
    """TOML's integers have 64 bits; Python reads longer ones, which it then cannot print."""
    if isinstance(value, int) and value.bit_length() > 64:
        raise ConfigError(f"{path}: {key} is {shortened(told(value), 100)}: allowed: 64 bits")
    if isinstance(value, dict):
        for name, item in value.items():
            _refuse_long_numbers(item, path, f"{key}.{name}" if key else name)
    if isinstance(value, list):
        for item in value:
            _refuse_long_numbers(item, path, key)


def _read(path: Path) -> dict[str, Any]:
    data = read_toml(path)
    from_dict(data, str(path))  # names the file in any error
    return data


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def whole(data: Mapping[str, Any], table: Any) -> dict[str, Any]:  # noqa: ANN401
    """The same settings, where numbers of steps and the like may be written as 1e6."""
    kinds = get_type_hints(table)  # without their ranges

    def made(value: Any, kind: Any) -> Any:  # noqa: ANN401
        if kind is int and isinstance(value, float) and value.is_integer():
            return int(value)
        nested = is_dataclass(kind) and isinstance(value, Mapping)
        return whole(value, kind) if nested else value

    return {key: made(value, kinds.get(key)) for key, value in data.items()}


def _refuse_unknown(data: Mapping[str, Any], table: Any, source: str, path: str = "") -> None:  # noqa: ANN401
    """Nearest match for any key that is not a setting."""
    known = {f.name: f for f in fields(table)}
    for key, value in data.items():
        if key not in known:
            raise ConfigError(f"{source}: {unknown('key', path + key, [path + k for k in known])}")
        if is_dataclass(known[key].type):
            if not isinstance(value, Mapping):
                raise ConfigError(f"{source}: '{path}{key}' must be a table, got {value!r}")
            _refuse_unknown(value, known[key].type, source, f"{path}{key}.")
