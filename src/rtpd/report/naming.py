"""What a report calls agents and settings: what differs, in few words."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from rtpd.storage.agent_id import TEACHER
from rtpd.storage.manifest import AgentInfo
from rtpd.system.formatting import show

type Settings = Mapping[str, str]

# What a reader tells runs apart by first, where several settings would do.
FIRST = ("teacher.algorithm", "steps", "teacher.steps", "teacher.net", "centre", "actors",
         "consolidation.share", "student.updates", "student.late_updates", "student.temperature",
         "student.optimizer.anneal", "rollout.epochs", "compute", "minutes",
         "teacher.ema_decay")  # fmt: skip
ALWAYS = ("teacher.algorithm", "steps", "teacher.steps")  # is said even where it is the default
WORDS: dict[str, dict[str, str]] = {  # of a value, or of any
    "teacher.algorithm": {"": "{}", "frozen": "another teacher"},
    "teacher.net": {"": "teacher {}"},
    "compute": {"": "{}"},
    "minutes": {"": "{} min"},
    "games": {"": "with {}"},
    "consolidation.share": {"": "consolidation {}"},
    "student.updates": {"": "{} updates"},
    "student.late_updates": {"": "{} late updates"},
    "student.temperature": {"": "T={}"},
    "student.optimizer.anneal": {"": "students' anneal {}"},
    "temperature": {"": "T={}"},
    "updates": {"": "{} updates"},
    "late_updates": {"": "{} late updates"},
    "optimizer.anneal": {"": "anneal={}"},
    "targets": {"": "{} targets"},
}


class Agent(NamedTuple):
    """What tells agents apart over runs, whatever each run calls them."""

    net: str
    how: tuple[str, ...] = ()  # its loss if it is not kl, int8, settings of its own

    @property
    def label(self) -> str:
        """As in "net1.7, T=0.1, 2 updates"."""
        return ", ".join((self.net, *self.how))

    @property
    def variant(self) -> str:
        """As in "T=0.1, 2 updates"; empty for a student as its run's settings have it."""
        return ", ".join(self.how)


TAUGHT_BY = Agent(TEACHER)  # the teacher of a setting


def agent_of(name: str, about: AgentInfo) -> Agent:
    """The agent of a manifest's entry."""
    loss = [about.loss] if about.loss and about.loss != "kl" else []
    own = dict(text.split("=", 1) for text in sorted(about.settings) if "=" in text)
    order = {key: i for i, key in enumerate(WORDS)}  # T=0.1 first
    keys = sorted(own, key=lambda key: (order.get(key, len(order)), key))
    words = [_said(key, own[key]) if key in WORDS else f"{key}={own[key]}" for key in keys]
    return Agent(about.net or name, (*loss, *(["int8"] if about.int8 else []), *words))


def setting_names(
    tables: Sequence[Settings], variants: Sequence[str], besides: str, defaults: Settings
) -> list[str]:
    """A short name for each of several settings; empty for a single one.

    The names of a suite's variants where these tell all apart, or else of each setting what parts
    it from the others; a default is not said. A variant that is called as the procedure,
    `besides`, needs no name.
    """
    if len(tables) < 2:
        return [""] * len(tables)
    plain = besides.replace(" ", "-")
    if all(variants) and len(set(variants)) == len(variants):
        return ["" if variant in (plain, plain.rstrip("s")) else variant for variant in variants]
    words = _parting(list(range(len(tables))), tables, defaults)
    return [", ".join(words[i]) for i in range(len(tables))]


def _parting(
    group: list[int], tables: Sequence[Settings], defaults: Settings
) -> dict[int, list[str]]:
    """By the number of each of these tables, what tells it from the others of the group."""
    keys = differing([tables[i] for i in group])
    if not keys:
        return {i: [] for i in group}
    found: dict[int, list[str]] = {}
    for value in dict.fromkeys(tables[i].get(keys[0], "") for i in group):
        same = [i for i in group if tables[i].get(keys[0], "") == value]
        said = value and (keys[0] in ALWAYS or value != defaults.get(keys[0]))
        word = [_said(keys[0], value)] if said else []
        found |= {i: word + rest for i, rest in _parting(same, tables, defaults).items()}
    return found


def differing(tables: Sequence[Settings]) -> list[str]:
    """The settings in which any two differ, those that say most first."""
    rest = sorted({key for table in tables for key in table} - {*FIRST})
    return [key for key in (*FIRST, *rest) if len({t.get(key, "") for t in tables}) > 1]


def _said(key: str, value: str) -> str:
    """A setting in words."""
    if key in ("steps", "teacher.steps"):
        number = steps(float(value)) if value.replace(".", "").isdecimal() else value
        return f"{number} steps" if key == "steps" else f"teacher of {number} steps"
    if key in WORDS:
        return WORDS[key].get(value) or WORDS[key][""].format(value)
    room, _, last = key.rpartition(".")
    of = f"{room.partition('.')[0]} " if room.startswith(("student", "teacher")) else ""
    if value in ("true", "false"):
        return f"{of}{'' if value == 'true' else 'no '}{last.replace('_', ' ')}"
    return f"{of}{last.replace('_', ' ')} {value}"


def steps(number: float) -> str:
    """As in 192k, 1.5M."""
    for unit, sign in ((1e6, "M"), (1e3, "k")):
        if number >= unit and float(f"{number / unit:.4g}") == number / unit:
            return f"{number / unit:.4g}{sign}"
    return show(number)
