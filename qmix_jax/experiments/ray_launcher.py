"""Trains an experiment's jobs as tasks of Ray, on this machine or on a cluster."""

import logging
import os
import signal
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, Self

from qmix_jax.errors import ConfigError, missing
from qmix_jax.experiments.launcher import Job, Outcome
from qmix_jax.experiments.workers import WorkerPool, available_cores, signal_name
from qmix_jax.runs.signals import StopSignal

_WAIT = 0.2  # seconds between polls
_REACH = 5.0  # seconds to reach an address: Ray itself would try for minutes
_RETRIES = 3  # of a job whose process or node died


class Slots(NamedTuple):
    """Where a cluster can train."""

    jobs: int  # at once
    gpus: int  # of each


class DiedError(Exception):
    """A job's process was killed, and may be started again."""


@contextmanager
def connected(address: str | None) -> Iterator[Slots]:
    """Connect to a running Ray, or start one on this machine where `address` is None, without usage statistics.

    Leaving the context disconnects, and ends what was started here.

    Raises:
        ConfigError: Ray is not installed or cannot be reached.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    try:
        import ray
    except ImportError:
        raise ConfigError(f"--launcher ray: {missing('ray', 'ray')}") from None
    host, _, port = (address or "").rpartition(":")
    try:
        if host:
            socket.create_connection((host, int(port)), _REACH).close()
        cores = None if address else len(available_cores())  # Ray itself would count those of the whole machine
        ray.init(address or "local", num_cpus=cores, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, ValueError, OverflowError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(f"--ray_address {address}: cannot be reached: {reason}") from None
    try:
        found = ray.cluster_resources()
        gpus = int(found.get("GPU", 0))
        yield Slots(gpus or max(1, int(found.get("CPU", 0))), int(gpus > 0))
    finally:
        ray.shutdown()


class RayLauncher:
    """Runs each job as a task with one CPU or GPU, where `connected`.

    A task starts the same process as `WorkerPool` does. If that process, the task's or its node dies, Ray runs the task
    again, and the job continues from its newest checkpoints. All nodes must see the experiment's folder: a file `stop`
    there asks all jobs to save and end.

    Args:
        path: the experiment's folder.
        module: what the processes run.
        gpus: of each task.
    """

    def __init__(self, path: Path, module: str, gpus: int) -> None:
        self._path = path
        self._module = module
        self._gpus = gpus
        self._stop = path / "stop"
        self._waiting: dict[Any, Job] = {}  # by Ray's references

    def __enter__(self) -> Self:
        self._stop.unlink(missing_ok=True)
        return self

    def __exit__(self, *error: Any) -> None:
        import ray

        for reference in self._waiting:
            ray.cancel(reference, force=True)
        self._stop.unlink(missing_ok=True)

    def kill(self) -> None:
        """Do nothing: jobs end with the process that started them."""

    def ask_to_stop(self, number: int) -> None:
        """Let running jobs save and end, and start no more."""
        self._stop.touch()

    def train(self, jobs: Sequence[Job], stop_signal: StopSignal) -> Iterator[Outcome]:
        """Hand all jobs to Ray and yield the outcome of each when it ends."""
        import ray

        task = ray.remote(_train).options(
            num_cpus=1, num_gpus=self._gpus, max_retries=_RETRIES, retry_exceptions=[DiedError]
        )
        self._waiting = {task.remote(self._path, self._module, job, os.getcwd()): job for job in jobs}
        while self._waiting:
            number = stop_signal()
            if number is not None:
                self.ask_to_stop(number)
            for reference in ray.wait(list(self._waiting), timeout=_WAIT)[0]:
                job = self._waiting.pop(reference)
                try:
                    status, message = ray.get(reference)
                except ray.exceptions.RayTaskError as error:
                    times = f", {_RETRIES + 1} times" if isinstance(error.cause, DiedError) else ""
                    status, message = 1, f": error: {error.cause}{times}"
                except ray.exceptions.RayError as error:
                    status, message = 1, f": error: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
                yield Outcome(job, status, message)


def _train(path: Path, module: str, job: Job, folder: str) -> tuple[int, str]:
    """Train a job in a process of its own. Returns its exit status and the last line of its stderr.

    Raises:
        DiedError: it was killed.
    """
    if not (path / "configs").is_dir():
        node = socket.gethostname()
        return 2, f": error: {path}: must be in a folder that all nodes see, but {node} does not; see --results_dir"
    with suppress(OSError):
        os.chdir(folder)  # an environment of the user's own is imported from there
    stop = path / "stop"
    with WorkerPool(1, module) as pool:
        for outcome in pool.train([job], lambda: signal.SIGTERM if stop.exists() else None):
            if outcome.status < 0:
                raise DiedError(f"ended by {signal_name(outcome.status)}")  # Ray shows it, and tries again
            return outcome.status, outcome.message
    return 128 + signal.SIGTERM, ""
