"""What each teacher is and takes, told without importing any: `rtpd teachers`."""

from dataclasses import replace
from typing import Any

from rtpd.config.loading import load_config, presets
from rtpd.learning.replay_shape import replay_shape
from rtpd.learning.teachers import TEACHERS


def catalogue() -> dict[str, dict[str, Any]]:
    """Every teacher of `TEACHERS`.

    Returns:
        JSON-ready {teacher: {"paper", "regime" ("replay" or "rollout"), "atoms" (outputs per
        action), "preset" (the one of its name, else the first that uses it, else the one whose
        settings it gets on a CPU), "replay_bytes" (of that preset, of Atari frames)}}.
    """
    users = {name: load_config(name) for name in presets()}
    found = {}
    for name, entry in TEACHERS.items():
        using = [preset for preset, used in users.items() if used.teacher.algorithm == name]
        lent = "cpu" if entry.on_policy else "double-dqn"
        preset = name if name in users else (using or [lent])[0]
        teacher = replace(users[preset].teacher, algorithm=name)
        settings = replace(users[preset], teacher=teacher, students=("auto",))
        replay = replay_shape(settings, [settings.student], (84, 84), "uint8", num_actions=18)
        found[name] = {
            "paper": entry.paper,
            "regime": "rollout" if entry.on_policy else "replay",
            "atoms": entry.atoms,
            "preset": preset,
            "replay_bytes": replay.num_bytes,
        }
    return found
