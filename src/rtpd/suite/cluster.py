"""A Ray cluster: each run is a task, and its process a child of the worker that has the task.

A task whose worker is lost is given to another one, which goes on from the run's last checkpoint;
so the suite's folder must be on storage that every machine sees under the same path, and rtpd
must be installed on all of them.
"""

import contextlib
import os
import signal
import sys
import time
from typing import Any

from rtpd.envs.options import IMPORT
from rtpd.errors import RequestError, RtpdError
from rtpd.suite.attempt import STOPPED, find, launch
from rtpd.suite.plan import Job


class Task:
    """A try of a run in a Ray task."""

    def __init__(self, ray: Any, reference: Any, job: Job) -> None:  # noqa: ANN401
        """As it was submitted; it may have to wait for room."""
        self._ray, self._reference, self._job = ray, reference, job
        self._log_size = _size(job)

    def begun(self) -> bool:
        """Once its process has been started, which the log tells."""
        return _size(self._job) > self._log_size

    def code(self) -> int | None:
        """None while it waits or goes on, then the exit code; a lost worker counts as SIGKILL."""
        errors = self._ray.exceptions
        if not self._ray.wait([self._reference], timeout=0)[0]:
            return None
        try:
            return self._ray.get(self._reference)
        except errors.TaskCancelledError:
            return STOPPED
        except errors.RayTaskError as error:
            cause = error.cause
            raise cause if isinstance(cause, RtpdError) else RtpdError(str(cause)) from None
        except errors.RayError:  # after as many other workers as were allowed
            return -signal.SIGKILL

    def stop(self) -> None:
        """Ask it to save and end; a task that still waits is taken back."""
        self._ray.cancel(self._reference, force=False)


class Cluster:
    """Runs as tasks of a Ray cluster, as many at once as have room there."""

    def __init__(self, address: str, jobs: int, cores: int, retries: int) -> None:
        """Start a cluster of this machine alone (`local`) or join one.

        Each run asks for `cores` CPUs and, where a machine has GPUs, for a share of one: as much
        as lets `jobs` runs onto a machine. `retries`: how many lost workers are made up for.

        Raises:
            RequestError: if Ray is not installed, no cluster answers, or no machine of it is large
                enough.
        """
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            import ray
        except ImportError:
            raise RequestError(
                "--ray needs the 'cluster' extra: pip install 'rtpd[cluster]'"
            ) from None
        self._ray, self._undo = ray, contextlib.ExitStack()
        # Ray tells of lost workers on standard output, which may be JSON.
        self._undo.enter_context(contextlib.redirect_stdout(sys.stderr))
        self._undo.callback(ray.shutdown)
        try:
            with contextlib.chdir("/"):  # Ray's workers look for modules in this folder first
                ray.init(address, log_to_driver=False, logging_level="ERROR")
        except Exception as error:  # Ray has no error of its own for all that can go wrong
            self.close()
            raise RequestError(f"--ray {address}: {str(error).partition('\n')[0]}") from None
        machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        most, gpus = (int(max(m.get(kind, 0) for m in machines)) for kind in ("CPU", "GPU"))
        if cores > most:
            self.close()
            raise RequestError(f"--cores {cores}: the largest machine of the cluster has {most}")
        share = min(1.0, gpus / jobs)
        self._environment = {"NPROC": str(cores)}  # how many threads XLA starts
        if IMPORT in os.environ:
            self._environment[IMPORT] = os.environ[IMPORT]
        if share:
            self._environment["XLA_PYTHON_CLIENT_MEM_FRACTION"] = f"{0.75 * share:.3f}"
        limits = {"num_cpus": cores, "num_gpus": share, "max_retries": retries}
        self._attempt = ray.remote(**limits)(attempt)

    def room(self) -> bool:
        """Always: Ray lets wait what does not fit."""
        return True

    def start(self, job: Job) -> Task:
        """Submit a run."""
        return Task(self._ray, self._attempt.remote(job, self._environment), job)

    def close(self) -> None:
        """Leave the cluster, which kills what still runs."""
        self._undo.close()


def attempt(job: Job, environment: dict[str, str]) -> int:
    """What a worker does: one try of a run, whatever an earlier worker has left of it."""
    if find(job).state == "finished":
        return 0
    process = launch(job, environment=environment)
    try:
        while process.poll() is None:  # Ray's interrupt would not end a blocking `wait`
            time.sleep(0.2)
    except KeyboardInterrupt:  # so Ray cancels a task
        process.terminate()
    process.communicate()  # closes the pipe that it has watched
    return process.returncode


def _size(job: Job) -> int:
    return job.log.stat().st_size if job.log.exists() else 0
