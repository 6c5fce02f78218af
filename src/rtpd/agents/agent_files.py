"""NAME.safetensors and the NAME.json that says what an agent is: read only if they fit together."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from rtpd.agents.formats import normalize
from rtpd.agents.formats.host import Reading
from rtpd.errors import CheckpointError, RequestError
from rtpd.storage.files import contents, read_json, sha256, write_json
from rtpd.types import EnvSpec

FORMAT = 1
HUB_WEIGHTS, HUB_CONFIG = "model.safetensors", "config.json"  # as the Hub calls them
_Name = Annotated[str, msgspec.Meta(max_length=200)]


class _Atoms(msgspec.Struct):
    """Of a C51 that other programs trained: its values of the return."""

    atoms: Annotated[int, msgspec.Meta(ge=2, le=1000)]
    limit: Annotated[float, msgspec.Meta(gt=0, le=1e6)]


class About(msgspec.Struct):
    """What the .json must say; what else it says is kept as provenance."""

    spec: EnvSpec
    net: _Name
    num_outputs: Annotated[int, msgspec.Meta(ge=1, le=2**24)]
    dueling: bool
    norm: bool = False
    activation: _Name = "relu"
    agent: _Name = ""
    teacher: _Name = ""
    atoms: _Atoms | None = None


class _Statistics(msgspec.Struct):
    mean: list[float]
    deviation: list[float]


class _Seen(msgspec.Struct):
    """Of a teacher outside of JAX: how its file is read."""

    scale: Annotated[float, msgspec.Meta(gt=0, le=1e9)] | None = None
    normalize: _Statistics | None = None


class AboutHost(msgspec.Struct):
    """What the .json of a teacher outside of JAX must say."""

    spec: EnvSpec
    output: Literal["q", "logits", "actions"]
    source: _Seen
    parameters: Annotated[int, msgspec.Meta(ge=0, le=2**53)] = 0

    def reading(self, path: Path) -> Reading:
        """How it answers and sees; CheckpointError if it divides by what is no number."""
        seen, found = self.source, None
        if seen.normalize is not None:
            found = normalize.of(path, seen.normalize.mean, seen.normalize.deviation)
        return Reading(self.output, seen.scale, found)


def write_description(path: Path, data: bytes, facts: dict[str, Any]) -> None:
    """Write what is said of the weights `data` in `path` as the JSON beside them."""
    meta = {"format": FORMAT, **facts}
    write_json(path.with_suffix(".json"), meta | {"sha256": _digest(data, meta)})


def read[Kind](
    path: Path, kind: type[Kind], *, has_weights: bool = True
) -> tuple[bytes, Kind, dict[str, Any]]:
    """The weights in a file, what must be said of them, and what else is, kept as provenance.

    Raises:
        CheckpointError: if they do not fit each other, or are of another format.
    """
    described = (
        path.with_name(HUB_CONFIG) if path.name == HUB_WEIGHTS else path.with_suffix(".json")
    )
    meta: Any = read_json(described)
    try:
        data = contents(path) if has_weights else b""
    except RequestError as error:
        raise CheckpointError(f"cannot read {path}: {error}") from None
    if not isinstance(meta, dict):
        raise CheckpointError(f"{path}: its .json is no description of an agent")
    if meta.get("format") != FORMAT:
        raise CheckpointError(
            f"{path}: agent format {meta.get('format')}, this rtpd reads {FORMAT}"
        )
    digest = meta.pop("sha256", None)
    if _digest(data, meta) != digest:
        raise CheckpointError(f"{path} or its .json is damaged: the sha256 differs")
    try:
        about = msgspec.convert(meta, kind)
    except (ValueError, RecursionError) as error:  # of its schema, or of half a character
        raise CheckpointError(f"{path}: its .json describes no agent: {error}") from None
    return data, about, {key: meta[key] for key in meta if key not in ("format", "spec")}


def _digest(data: bytes, meta: dict[str, Any]) -> str:
    """Of the weights and of what is said of them."""
    return sha256(data + json.dumps(meta, sort_keys=True).encode())
