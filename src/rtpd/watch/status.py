"""How far a run is and what has ended it: one line, and the word and the share that go with it."""

import platform
from dataclasses import dataclass

from rtpd.errors import RtpdError, clean, shortened, typed
from rtpd.storage.files import contents
from rtpd.storage.manifest import Manifest
from rtpd.storage.records import TrainRecord
from rtpd.storage.run_folder import LOCK, STARTING, Run, is_running
from rtpd.system.formatting import duration, eta_text, percent, show
from rtpd.training.progress import progress

ACTIVE = ("running", STARTING)


@dataclass(frozen=True)
class Status:
    """What the badge, the line beside it and the bar below them say."""

    word: str  # running, finished, interrupted, failed, killed or starting
    line: str
    done: float | None  # of the limit that is reached first, 0 to 1; None without a limit


def status_of(folder: Run, last: TrainRecord | None) -> Status:
    """The status of a run as it is now; `last` is its last line of training, if it has one."""
    about = folder.about
    step = max(about.step or 0, last.step if last else 0)
    seconds = about.seconds if about.status == "finished" else None
    seconds = seconds or (last.seconds if last else 0.0)
    speed = last.steps_per_second if last else None
    limits = {"steps": about.settings.steps, "minutes": about.settings.minutes}
    reached = {"step": step, "seconds": seconds, "steps_per_second": speed}
    done, eta = progress(limits, reached)
    word = "killed" if is_gone(folder, about) else clean(shortened(about.status, 100))
    if word == "finished":
        return Status(word, _finished(about, step, seconds), done)
    so_far = _so_far(about, step, seconds) + (f" ({percent(done)})" if done is not None else "")
    if word in ACTIVE:
        left = f", ETA {eta_text(eta)}" if last and eta is not None else ""
        return Status(word, f"{so_far}, {word}{left}", done)
    return Status(word, f"{word} at {so_far}{_why(folder, about, word)}", done)


def is_gone(folder: Run, about: Manifest) -> bool:
    """Whether the process that wrote the run has ended without a word.

    That can be told on the machine that it ran on alone: of a copy, or of a folder that another
    machine shares, the lock says nothing.
    """
    if about.status not in ACTIVE or is_running(folder.path):
        return False
    try:
        holder = contents(folder.path / LOCK, 1000).decode(errors="replace")
    except RtpdError:
        return False
    return holder.endswith(f" on {platform.node()}")


def _so_far(about: Manifest, step: int, seconds: float) -> str:
    steps, minutes = about.settings.steps, about.settings.minutes
    text = f"{show(step)} of {show(steps)} steps" if steps else f"{show(step)} steps"
    return text + (f", {duration(seconds)} of {duration(60 * minutes)}" if minutes else "")


def _finished(about: Manifest, step: int, seconds: float) -> str:
    steps, minutes = about.settings.steps or 0, about.settings.minutes
    if minutes and step < steps:
        of = f"{show(step)} of {show(steps)} steps"
        return f"finished after {of}, at its limit of {duration(60 * minutes)}"
    return f"finished after {show(step)} steps, {duration(seconds)} of training"


def _why(folder: Run, about: Manifest, word: str) -> str:
    """What has ended it, where that is known, else how to go on."""
    if word == "failed" and about.failure:
        return f": {clean(shortened(about.failure, 300))}"
    return f": {clean(shortened(typed('rtpd', 'train', '--resume', folder.path), 300))}"
