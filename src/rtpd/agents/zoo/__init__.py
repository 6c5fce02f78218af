"""Students that come with rtpd: `zoo:GAME/NAME` is one of them wherever an agent is asked for.

GAME/NAME.safetensors and .json are an agent like any other; GAME/NAME.card.json tells what it
scored, and how it was made. `scripts/zoo_add.py` admits them.
"""

from pathlib import Path
from typing import Any

from rtpd.errors import RequestError, unknown
from rtpd.storage.files import read_json

PREFIX = "zoo:"
FOLDER = Path(__file__).parent
_CARD = ".card.json"


def names() -> list[str]:
    """Every student as GAME/NAME, sorted."""
    found = FOLDER.glob(f"*/*{_CARD}")
    return sorted(f"{p.parent.name}/{p.name.removesuffix(_CARD)}" for p in found)


def is_name(source: str | Path) -> bool:
    """Whether this asks for a student of the zoo."""
    return str(source).startswith(PREFIX)


def weights(source: str | Path) -> Path:
    """The .safetensors file of `zoo:GAME/NAME`; RequestError if there is no such student."""
    return FOLDER / f"{_known(source)}.safetensors"


def card(source: str | Path) -> dict[str, Any]:
    """What is known of `zoo:GAME/NAME`; RequestError if there is no such student.

    {"game", "agent", "net", "parameters", "bytes", "mean", "standard_error", "human_normalised",
    "episodes", "epsilon", "seed", "returns", "teacher": {"kind", "parameters", "mean",
    "standard_error", "episodes"}, "training": {"preset", "seed", "step", "commit", "suite"}}: the
    score was measured on episodes of its own, the teacher's is that of the run that both come from.
    """
    return read_json(FOLDER / f"{_known(source)}{_CARD}")


def catalogue() -> dict[str, dict[str, Any]]:
    """The card of every student, by GAME/NAME."""
    return {name: card(PREFIX + name) for name in names()}


def _known(source: str | Path) -> str:
    name = str(source).removeprefix(PREFIX)
    if name not in names():
        raise RequestError(unknown("student of the zoo", name, names()))
    return name
