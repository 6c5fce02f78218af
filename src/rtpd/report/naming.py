"""Short names for the settings of runs: the few that tell them apart."""

from collections.abc import Mapping, Sequence

FIRST = ("variant", "procedure", "teacher", "games", "steps")  # what to tell runs apart by


def names_of(settings: Sequence[Mapping[str, str]]) -> tuple[list[str], tuple[str, ...]]:
    """A short name for the setting of each run, and the keys in which any two differ.

    Made of few settings that tell all of them apart; the lists of students only if they must.
    """
    rest = {key for table in settings for key in table} - {*FIRST, "students"}
    keys = [*FIRST, *sorted(rest), "students"]
    differing = [key for key in keys if _told_apart(settings, [key]) > 1]
    chosen: list[str] = []
    for key in differing:
        if _told_apart(settings, [*chosen, key]) > _told_apart(settings, chosen):
            chosen.append(key)
    for key in [key for key in reversed(chosen) if key not in FIRST]:
        fewer = [k for k in chosen if k != key]
        if _told_apart(settings, fewer) == _told_apart(settings, chosen):
            chosen = fewer
    chosen = chosen or [key for key in FIRST[:3] if settings[0].get(key)]
    said = [", ".join(filter(None, map(_said, chosen, _values(t, chosen)))) for t in settings]
    return said, tuple(differing)


def _told_apart(settings: Sequence[Mapping[str, str]], keys: Sequence[str]) -> int:
    return len({_values(table, keys) for table in settings})


def _values(table: Mapping[str, str], keys: Sequence[str]) -> tuple[str, ...]:
    return tuple(table.get(key, "-") for key in keys)


def _said(key: str, value: str) -> str:
    if key == "steps" and value.isdecimal():
        return f"{int(value):,} steps"
    return value if key in FIRST[:4] else f"{key} {value}"
