"""Experiments: games x seeds x settings, as resumable runs in processes of their own.

A suite file is TOML. Only `games` must be there; `rtpd suite FILE --dry-run` shows the runs.

    name = "pong-sizes"            # of the folder, suites/NAME; default: the file's own
    games = ["pong", "boxing"]     # as for `rtpd train`
    seeds = [0, 1, 2]              # or seeds = 3, which is the same; default 1
    preset = "cpu"                 # what every run begins from; default: the one for this device

    [settings]                     # of every run: any setting of `rtpd train`, except env and seed
    steps = 300_000

    [game_settings.boxing]         # of one game, spelt as in `games`
    steps = 600_000

    [variants.real-time]           # each runs every game with every seed; default: one, "default"
    students = ["net1.7:kl"]

    [variants.constant-rate]
    preset = "pqn"                 # in place of the suite's own
    student.optimizer.anneal = 0.0

    [variants.two-stage]           # the teachers of another variant, distilled when they are done
    distill = "real-time"          # by `rtpd distill` with the preset "distill", unless it says so
    steps = 100_000

Defaults < preset < settings < game_settings < variant.

A suite's folder holds suite.toml, a copy of the file, and GAME/VARIANT/seed-N/ (a run folder) with
seed-N.toml (its settings) and seed-N.log (what it printed) beside it. Starting a suite again keeps
what is finished and goes on with the rest; more `steps` go on with finished runs too. A file that
asks for other settings of a run that is there is refused. The parent reads what the runs write and
does without JAX.
"""

import sys
from pathlib import Path
from typing import Any, TextIO

from rtpd.errors import RequestError, typed
from rtpd.storage.files import contents, remove_temporaries, write_atomic
from rtpd.storage.run_folder import check_free
from rtpd.suite.attempt import find, lock
from rtpd.suite.board import board, print_result
from rtpd.suite.conduct import Conductor, Workers
from rtpd.suite.local import Local, available_cores
from rtpd.suite.plan import jobs_of
from rtpd.suite.rows import TrackedRun, described, results
from rtpd.suite.suite_file import read

MOST = 10_000  # jobs, cores, retries
RETRIES = 2  # unless asked otherwise

__all__ = ["print_result", "run_suite"]


def run_suite(
    file: Path,
    *,
    out: Path | None = None,
    jobs: int = 1,
    cores: int | None = None,
    retries: int = RETRIES,
    ray: str | None = None,
    dry_run: bool = False,
    stream: TextIO | None = None,
) -> dict[str, Any]:
    """Run what is still to be run of a suite.

    Args:
        file: the suite file, see above.
        out: the suite's folder; None: suites/NAME.
        jobs: runs at once on a machine.
        cores: CPU cores of each run; None: this machine's, shared among `jobs`.
        retries: how often a run that was killed or failed is gone on with.
        ray: "local", "auto" or the address of a Ray cluster; None: child processes.
        dry_run: only look; nothing is written.
        stream: where progress is told; None: standard output.

    Returns:
        "suite" (name), "out", "status" ("finished", "failed", "interrupted", or "planned" after a
        dry run), "runs", "results" (the final evaluations, see `rows.results`), "next".

    Raises:
        RequestError: if the request cannot be met; nothing has been started or written then.
    """
    for flag, value, least in (("jobs", jobs, 1), ("cores", cores, 1), ("retries", retries, 0)):
        if value is not None and not least <= value <= MOST:
            raise RequestError(f"--{flag} {value}: allowed: {least} or more, up to {MOST:,}")
    stream = stream or sys.stdout  # as it is now: Ray's own words go elsewhere
    suite = read(file)
    folder = out or Path("suites") / suite.name
    folder = folder.absolute() if ray else folder  # Ray's workers are elsewhere
    mark = folder / "suite.lock"  # the first thing that a suite writes
    if not mark.exists():
        check_free(folder)
    planned = jobs_of(file, suite, folder)
    if dry_run:
        rows = [TrackedRun(job, find(job)) for job in planned]
        return _result(suite.name, folder, "planned", rows, [])
    workers = _workers(ray, jobs, cores, retries)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with lock(mark, lambda: f"another `rtpd suite` is running '{folder}'"):
            rows = [TrackedRun(job, find(job)) for job in planned]
            remove_temporaries(folder)
            _keep_copy(file, folder / "suite.toml")
            interrupted = _conduct(rows, workers, stream, retries)
    finally:
        workers.close()
    if all(row.state == "finished" for row in rows):
        return _result(suite.name, folder, "finished", rows, [typed("rtpd", "report", folder)])
    status = "interrupted" if interrupted else "failed"
    again = _again(file, out, jobs, cores, retries, ray)
    return _result(suite.name, folder, status, rows, [again])


def _again(
    file: Path, out: Path | None, jobs: int, cores: int | None, retries: int, ray: str | None
) -> str:
    """The command that goes on with a suite."""
    flags = {"--out": out, "--jobs": jobs if jobs != 1 else None, "--cores": cores,
             "--retries": retries if retries != RETRIES else None, "--ray": ray}  # fmt: skip
    given = [word for flag, value in flags.items() if value is not None for word in (flag, value)]
    return typed("rtpd", "suite", file, *given)


def _workers(ray: str | None, jobs: int, cores: int | None, retries: int) -> Workers:
    cores = cores or max(1, len(available_cores()) // jobs)
    if ray is None:
        return Local(jobs, cores)
    from rtpd.suite.cluster import Cluster

    return Cluster(ray, jobs, cores, retries)


def _conduct(rows: list[TrackedRun], workers: Workers, stream: TextIO, retries: int) -> bool:
    """See every run to its end; whether that was interrupted."""
    told = board(stream)
    conductor = Conductor(rows, workers, told, retries=retries)
    try:
        told.update(rows)
        conductor.go()
    finally:
        told.close()
    return conductor.interrupted


def _keep_copy(file: Path, copy: Path) -> None:
    text = contents(file)
    if not copy.is_file() or copy.read_bytes() != text:
        write_atomic(copy, text)


def _result(
    name: str, folder: Path, status: str, rows: list[TrackedRun], following: list[str]
) -> dict[str, Any]:
    return {
        "suite": name,
        "out": str(folder),
        "status": status,
        "runs": [described(row) for row in rows],
        "results": results(rows),
        "next": following,
    }
