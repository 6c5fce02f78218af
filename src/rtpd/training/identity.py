"""Whose a checkpoint is: the run, the settings and the step with which it was saved.

Digests show damage; they do not show that a whole checkpoint is another run's, or that the run's
settings were changed since. A checkpoint says all three of itself, and is taken only if they fit.
"""

from pathlib import Path
from typing import Any

from rtpd.config.loading import flat, from_dict, to_dict
from rtpd.config.settings import Config
from rtpd.errors import CheckpointError, RtpdError
from rtpd.storage.migration import migrated
from rtpd.storage.run_folder import Run
from rtpd.training.divergence import MOST_ROLLBACKS

# When a run stops, and what it does then: nothing of what it has learnt until now.
MAY_CHANGE = ("steps", "minutes", "on_divergence", "evaluation.final_episodes")
RATES = ("teacher.optimizer.learning_rate", "student.optimizer.learning_rate")


def stamp(run: Run, settings: Config) -> dict[str, Any]:
    """What a checkpoint says of its run, JSON-ready; its step is among its progress."""
    return {"run": run.manifest.get("id"), "settings": to_dict(settings)}


def check(folder: Path, stamped: dict[str, Any], run: Run, settings: Config) -> None:
    """CheckpointError, in one line, unless a checkpoint is this run's with these settings."""
    if stamped.get("run") != run.manifest.get("id"):
        raise CheckpointError(f"{folder} is a checkpoint of another run")
    step = stamped["progress"]["step"]
    if type(step) is not int or step != int(folder.name):
        raise CheckpointError(f"{folder} was saved at step {step!r}, not at that of its name")
    if "settings" not in stamped and "id" not in run.manifest:
        return  # both of an earlier rtpd
    try:
        saved = flat(to_dict(from_dict(migrated(stamped["settings"]), str(folder))))
    except RtpdError as error:
        raise CheckpointError(str(error)) from None
    rolls_back = settings.on_divergence == "rollback" or run.manifest.get("rollbacks")
    for key, value in flat(to_dict(settings)).items():
        allowed = [value * 2**k for k in range(MOST_ROLLBACKS + 1)] if key in RATES else [value]
        if key in MAY_CHANGE or saved[key] in (allowed if rolls_back else [value]):
            continue
        raise CheckpointError(
            f"{folder} was saved with {key} = {saved[key]!r}, the run has {value!r} now: "
            f"a run keeps its settings, except {', '.join(MAY_CHANGE)}"
        )
