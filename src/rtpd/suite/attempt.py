"""One run of a suite: what there is of it, and its process.

Nothing of it outlives its starter. The child holds one end of a pipe, whose other end closes when
the starter dies, however it dies; the child then kills itself. It also holds the lock on the run's
log, which lasts as long as any process writes there, so that nobody can go on with a run that is
still being written to.
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from rtpd.config.loading import flat, from_dict, to_dict
from rtpd.errors import RtpdError, RunError, typed
from rtpd.storage.files import contents, discard, is_temporary, write_atomic
from rtpd.storage.locks import lock
from rtpd.storage.provenance import now
from rtpd.storage.run_folder import LOCK, MANIFEST, PARTS, Run
from rtpd.suite.plan import Job, as_toml

REFUSED, STOPPED = 2, 130  # exit codes of `rtpd train` after which a run is not tried again
PATIENCE_SECONDS = 20.0  # for a process that is about to die


class Found(NamedTuple):
    """What there is of a run: nothing to go on from ("new"), "half" of it, or it is "finished"."""

    state: str
    step: int = 0


def find(job: Job) -> Found:
    """Look at a run's folder; RunError if it holds anything but this very run."""
    folder = job.folder
    if not folder.exists():
        return Found("new")
    if not (folder / MANIFEST).is_file():
        _check_ours(job)
        return Found("new")
    run = Run.open(folder)
    _check_same(job, run)
    about = run.about
    step = about.step or 0
    asked = max(about.settings.steps or 0, step)  # whole steps of all envs may be more
    if about.status == "finished" and job.config.steps <= asked:
        return Found("finished", step)
    if any(run.checkpoints.glob("[0-9]*/sha256.json")):
        return Found("half", step)
    _check_ours(job)
    return Found("new")


def launch(
    job: Job, cores: str = "", environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start a run, or go on with it, in a process of its own that dies when this one does.

    Args:
        job: a run that is not finished.
        cores: numbers of the cores that it keeps to, as in "0,1"; empty: all.
        environment: variables that it gets unless they are set already.

    Raises:
        RunError: if the run is finished, if its folder holds something else, or if another process
            still writes there.
    """
    job.folder.parent.mkdir(parents=True, exist_ok=True)
    taken = f"'{job.folder}' is still being written by another process"
    with lock(job.log, lambda: taken, PATIENCE_SECONDS) as log:
        _tidy(job)
        state = find(job).state
        if state == "finished":
            raise RunError(f"'{job.folder}' is finished")
        if state == "half":
            command = ["train", "--resume", str(job.folder), "--steps", str(job.config.steps)]
        else:
            _discard(job.folder)
            what = ["distill", str(job.teacher)] if job.teacher else ["train"]
            command = [*what, "--preset", job.experiment.preset, "--config", str(job.settings)]
            command += ["--out", str(job.folder)]
        settings = as_toml(job.config, job.experiment.unused).encode()
        if not job.settings.is_file() or job.settings.read_bytes() != settings:
            write_atomic(job.settings, settings)
        log.write(f"--- {now()} {typed('rtpd', *command)}\n".encode())
        log.flush()
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "rtpd.suite.child", cores, *command],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={"PYTHONUNBUFFERED": "1", **(environment or {}), **os.environ},
            start_new_session=True,  # a terminal's Ctrl-C is for the suite, which passes it on once
        )


def last_line(job: Job) -> str:
    """The last line that a run printed, where it says why it failed."""
    try:
        lines = contents(job.log).decode(errors="replace").splitlines()
    except RtpdError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def _check_same(job: Job, run: Run) -> None:
    """RunError with the first setting that differs; more steps are the one change allowed."""
    there = flat(to_dict(from_dict(run.manifest["config"], f"{run.path}/manifest.json")))
    asked = flat(to_dict(job.config))
    for key, value in asked.items():
        grown = key == "steps" and value > there[key]
        if value != there[key] and not grown and key not in job.experiment.unused:
            raise RunError(
                f"'{job.folder}' has {key} = {there[key]!r}, the suite file asks for {value!r}: "
                "a run keeps its settings; move it away or choose another --out"
            )


def _check_ours(job: Job) -> None:
    """RunError unless the folder holds what this suite's own start of the run has left, if that."""
    if job.folder.is_dir():
        names = {path.name for path in job.folder.iterdir()}
        begun = all(n in (*PARTS, LOCK) or is_temporary(n) for n in names)
        if not names or (job.settings.is_file() and (begun or MANIFEST in names)):
            return
    raise RunError(f"'{job.folder}' is there and is no run of this suite: choose another --out")


def _waste(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.waste")


def _tidy(job: Job) -> None:
    """Remove what a suite that was killed has left half done for this run."""
    discard(_waste(job.folder))
    for path in job.folder.parent.glob(f".{job.settings.name}.*.tmp"):
        discard(path)


def _discard(folder: Path) -> None:
    """Remove what a run left that never reached a checkpoint; renamed first, so never by halves."""
    if folder.exists():
        os.replace(folder, _waste(folder))
        discard(_waste(folder))
