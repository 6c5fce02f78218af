"""Imports go only to a strictly lower floor; docs/architecture.md lists the rooms as they stand."""

import ast
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src" / "rtpd"
FLOORS = (
    "errors ranges",
    "system",
    "types storage",
    "envs networks",
    "config",
    "learning",
    "agents",
    "training export",
    "report watch",
    "suite",
    "__init__ cli",
    "__main__",
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms.split()}


def imported(path: str, source: str) -> set[str]:
    """The rooms that a file imports from, at its top or anywhere inside it."""
    package = ["rtpd", *path.split("/")[:-1]]
    modules = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            modules += [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            here = package[: len(package) - node.level + 1] if node.level else []
            base = here + (node.module.split(".") if node.module else [])
            # `from rtpd import nets` is the room nets; `from rtpd import Config` the public API.
            modules += [[*base, alias.name] if base == ["rtpd"] else base for alias in node.names]
    rooms = {(m[1] if len(m) > 1 else "__init__") for m in modules if m[0] == "rtpd"}
    public = {r for r in rooms if r not in FLOOR and not known(r)}
    return (rooms - public) | ({"__init__"} if public else set())


def known(room: str) -> bool:
    """Whether the source tree has a room of this name."""
    return (SRC / room).is_dir() or (SRC / f"{room}.py").is_file()


def faults(path: str, source: str) -> list[str]:
    """One line for every import that the floors forbid; `path` is relative to src/rtpd."""
    room = path.split("/")[0].removesuffix(".py")
    rooms = sorted(imported(path, source) - {room})
    strange = [r for r in (room, *rooms) if r not in FLOOR]
    if strange:
        return [f"{path}: give '{r}' a floor in tests/test_floors.py" for r in strange]
    return [
        f"{path} (floor {FLOOR[room]}) must not import rtpd.{r} (floor {FLOOR[r]})"
        for r in rooms
        if FLOOR[r] >= FLOOR[room]
    ]


def test_imports_go_only_to_a_lower_floor():
    files = sorted(SRC.rglob("*.py"))
    assert files
    found = [f for p in files for f in faults(p.relative_to(SRC).as_posix(), p.read_text())]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("path", "source", "number"),
    [
        ("config/settings.py", "from rtpd.networks.qnet import NETS\nimport rtpd.types", 0),
        ("envs/__init__.py", "from rtpd.envs import ale\nfrom . import gym\nimport jax.nn", 0),
        ("envs/ale.py", "from ..types import EnvSpec\nfrom .probe import Probe", 0),
        ("cli/main.py", "import rtpd.training.train", 0),
        ("networks/qnet.py", "from rtpd.learning.distillation import LOSSES", 1),
        ("networks/qnet.py", "def f():\n    import rtpd.config.settings as c", 1),
        ("envs/ale.py", "from ..config.settings import Config", 1),
        ("training/train.py", "from rtpd import Config", 1),
        ("training/train.py", "import rtpd", 1),
        ("errors.py", "from rtpd import types", 1),
        ("types.py", "from . import errors, networks", 1),
        ("attic.py", "", 1),
    ],
)
def test_the_check_itself(path, source, number):
    assert len(faults(path, source)) == number


def test_the_docs_list_every_room_and_file_from_the_top_floor_down():
    page = (SRC.parents[1] / "docs" / "architecture.md").read_text()
    tree = page.partition("## Rooms")[2].split("```")[1].partition("\n")[2]
    listed, place = [], []
    for line in filter(None, tree.splitlines()):
        name = line.split()[0]
        place = [*place[: (len(line) - len(line.lstrip())) // 2], name.rstrip("/")]
        listed.append("/".join(place))
    found = {p.relative_to(SRC) for p in SRC.rglob("*.py") if len(p.relative_to(SRC).parts) == 1}
    found |= {p.relative_to(SRC) for p in SRC.rglob("*/*.py")}
    names = {
        (p.parent if p.name == "__init__.py" and p.parent.name else p).as_posix() for p in found
    }
    assert sorted(listed) == sorted(names)
    floors = [FLOOR[name.removesuffix(".py")] for name in listed if "/" not in name]
    assert floors == sorted(floors, reverse=True)
    assert len(floors) <= 18  # thirteen rooms and five files
