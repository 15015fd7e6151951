"""A pool of training processes pinned to disjoint cores."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, NamedTuple, Self

from qmix_jax.experiments.launcher import Job, Outcome
from qmix_jax.runs.signals import StopSignal

_WAIT = 0.2  # seconds between polls
_LONGEST_ERROR = 10_000  # bytes read from the end of stderr


class _Process(NamedTuple):
    job: Job
    process: subprocess.Popen[bytes]
    errors: IO[bytes]
    slot: int

    def close(self) -> None:
        self.errors.close()
        if self.process.stdin is not None:
            with suppress(BrokenPipeError):
                self.process.stdin.close()


class WorkerPool:
    """Runs jobs, at most `workers` at once, each as a process of a `module` of this package.

    Leaving the context kills the processes that still run. Each has its own process group: Ctrl-C in a terminal reaches
    only this process, which forwards it once. A batch system's SIGTERM reaches all of them, so a worker must not count
    the forwarded signal as a second request, on which it would leave without saving (`StopRequest`'s `leaves`). Several
    workers are pinned to equal shares of the cores where the system allows it, so that their wall times compare; a
    single one may use all cores, like a run started by hand. Their standard input closes when this process ends.
    """

    def __init__(self, workers: int, module: str) -> None:
        self._program = program_words(module)
        self._shares = core_shares(workers)
        self._running: list[_Process] = []
        self._asked: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        self.kill()
        for running in self._running:
            running.process.wait()
            running.close()

    def kill(self) -> None:
        """Kill all processes. Their files are complete at any moment."""
        for running in self._running:
            running.process.kill()

    def ask_to_stop(self, number: int) -> None:
        """Forward a signal, on which processes save and end, and start no more."""
        if self._asked is None:
            self._asked = number
            for running in self._running:
                running.process.send_signal(number)

    def train(self, jobs: Sequence[Job], stop_signal: StopSignal) -> Iterator[Outcome]:
        """Start the jobs in their order and yield the outcome of each when it ends.

        Args:
            jobs: the work.
            stop_signal: polled; once it returns a signal, that is forwarded.
        """
        waiting = list(jobs)
        while True:
            number = stop_signal()
            if number is not None:
                self.ask_to_stop(number)
            while waiting and self._asked is None and len(self._running) < len(self._shares):
                self._start(waiting.pop(0))
            ended = [running for running in self._running if running.process.poll() is not None]
            for running in ended:
                self._running.remove(running)
                message = _last_line(running.errors)
                running.close()
                yield Outcome(running.job, running.process.returncode, message)
            if not self._running and (not waiting or self._asked is not None):
                return
            if not ended:
                time.sleep(_WAIT)

    def _start(self, job: Job) -> None:
        slot = min(set(range(len(self._shares))) - {running.slot for running in self._running})
        errors = tempfile.TemporaryFile()  # an unread pipe would fill up and block its writer
        process = subprocess.Popen(
            [sys.executable, *self._program, *job.words],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            env=program_environment(),
            process_group=0,
        )
        self._running.append(_Process(job, process, errors, slot))
        if len(self._shares) > 1 and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(process.pid, self._shares[slot])  # before it imports JAX, which counts them
        assert process.stdin is not None
        if job.text:
            with suppress(BrokenPipeError):  # it has ended, and its outcome tells why
                process.stdin.write(job.text.encode() + b"\n")
                process.stdin.flush()


def program_words(module: str) -> tuple[str, ...]:
    """Return the arguments with which Python runs a module of this installation, not of the working directory."""
    return "-P", "-m", module


def core_shares(workers: int) -> list[set[int]]:
    """Return disjoint, equally large sets of the available cores, one for each worker."""
    cores = available_cores()
    each = len(cores) // workers
    return [set(cores[worker * each : (worker + 1) * each]) for worker in range(workers)]


def available_cores() -> list[int]:
    """Return the numbers of the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def signal_name(status: int) -> str:
    """Return the signal behind a negative exit status, such as 'SIGKILL'."""
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"


def program_environment() -> dict[str, str]:
    """Return this process's environment, extended so that `program_words` imports the same packages."""
    here = str(Path(__file__).parents[2])
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")]))}


def _last_line(errors: IO[bytes]) -> str:
    size = errors.seek(0, os.SEEK_END)
    errors.seek(max(0, size - _LONGEST_ERROR))
    lines = errors.read().decode(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
