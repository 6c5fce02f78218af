"""Settings of earlier versions under today's names: the one place that knows the old ones.

Whatever reads settings that a run has written (its manifest, the stamp of a checkpoint) has them go
through `migrated`, so that the rest of rtpd knows today's names alone. To rename a setting, give it
a line here; files of users (TOML, flags) are not migrated: there an old name is refused with the
nearest match.
"""

from typing import Any

# Old to new, by dotted keys, applied in this order; "old.*": "new.*" moves a whole table.
RENAMED: dict[str, str] = {
    "teacher": "teacher.algorithm",
    "td.*": "teacher.*",
    "explore.*": "exploration.*",
    "rollout.trace": "rollout.td_lambda",
    "teacher.average_decay": "teacher.ema_decay",
    "student.average_decay": "student.ema_decay",
}
# The same, in the texts of students that have settings of their own.
RENAMED_IN_STUDENTS = {"average-decay": "ema-decay", "average_decay": "ema_decay"}


def migrated(settings: Any) -> Any:  # noqa: ANN401
    """The same settings under today's names; what is no table, or has no old name, as it is."""
    for old, new in RENAMED.items():
        whole = old.endswith(".*")
        place = old.removesuffix(".*").split(".")
        value = _get(settings, place)
        if value is not None and isinstance(value, dict) == whole:
            settings = _put(_without(settings, place), new.removesuffix(".*").split("."), value)
    settings = _policy_temperature(settings)
    students = _get(settings, ["students"])
    if isinstance(students, list | tuple):
        settings = {**settings, "students": type(students)(map(_student, students))}
    return settings


def _policy_temperature(settings: Any) -> Any:  # noqa: ANN401
    """That of PPO's logits, which were followed at the temperature of Q-values."""
    place, new = ["student", "temperature"], ["student", "policy_temperature"]
    value = _get(settings, place)
    is_policy = _get(settings, ["teacher", "algorithm"]) == "ppo"
    if not is_policy or value is None or _get(settings, new) is not None:
        return settings
    return _put(_without(settings, place), new, value)


def _student(text: Any) -> Any:  # noqa: ANN401
    for old, new in RENAMED_IN_STUDENTS.items():
        text = text.replace(f":{old}=", f":{new}=") if isinstance(text, str) else text
    return text


def _get(table: Any, place: list[str]) -> Any:  # noqa: ANN401
    for key in place:
        table = table.get(key) if isinstance(table, dict) else None
    return table


def _without(table: dict[str, Any], place: list[str]) -> dict[str, Any]:
    """A copy without what is at the place, which is there, and without tables that this empties."""
    first, *rest = place
    inner = _without(table[first], rest) if rest else {}
    return {k: inner if k == first else v for k, v in table.items() if k != first or inner}


def _put(table: dict[str, Any], place: list[str], value: Any) -> dict[str, Any]:  # noqa: ANN401
    """A copy with a value at the place; what stands there under today's name already wins."""
    first, *rest = place
    there = table.get(first)
    if rest:
        value = _put(there if isinstance(there, dict) else {}, rest, value)
    elif isinstance(value, dict) and isinstance(there, dict):
        value = value | there
    elif first in table:
        return table
    return {**table, first: value}
