"""Settings as earlier versions wrote them, under today's names: the one place that knows both."""

from collections.abc import Mapping
from typing import Any

_TABLES = {"td": "teacher", "explore": "exploration"}
_KEYS = {
    ("teacher", "average_decay"): "ema_decay",
    ("student", "average_decay"): "ema_decay",
    ("rollout", "trace"): "td_lambda",
}


def migrated(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a manifest or a checkpoint with the names that they have today.

    Those that have them already stay as they are, as does what cannot be understood.
    """
    found = {
        _TABLES.get(name, name): value for name, value in settings.items() if name != "teacher"
    }
    algorithm = settings.get("teacher")
    if isinstance(algorithm, Mapping):
        found["teacher"] = algorithm
    elif algorithm is not None:
        table = found.get("teacher")
        found["teacher"] = {"algorithm": algorithm, **(table if isinstance(table, Mapping) else {})}
    for (table, old), new in _KEYS.items():
        values = found.get(table)
        if isinstance(values, Mapping) and old in values and new not in values:
            found[table] = {new if key == old else key: value for key, value in values.items()}
    if "students" in found:
        found["students"] = _students(found["students"])
    return found


def _students(texts: Any) -> Any:  # noqa: ANN401
    """Students' texts, whose own settings are named in them."""
    if not isinstance(texts, list | tuple):
        return texts
    renamed = ((":average-decay=", ":ema-decay="), (":average_decay=", ":ema_decay="))
    found = []
    for text in texts:
        for old, new in renamed:
            text = text.replace(old, new) if isinstance(text, str) else text
        found.append(text)
    return type(texts)(found)
