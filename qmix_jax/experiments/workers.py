"""Several training processes, so many at once, of which none takes another's cores."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple, Self

from qmix_jax.runs.signals import StopSignal

_WAIT = 0.2  # seconds between looks
_LONGEST_ERROR = 10_000  # bytes of stderr's end that are read


class Job(NamedTuple):
    """What a fresh process is to train."""

    name: str
    words: list[str]  # after the name of the module


class Outcome(NamedTuple):
    """How a process ended."""

    job: Job
    status: int  # exit status; of one that a signal ended, minus that signal
    message: str  # last line that it wrote to stderr


class _Process(NamedTuple):
    job: Job
    process: subprocess.Popen[bytes]
    errors: IO[bytes]
    slot: int

    def close(self) -> None:
        self.errors.close()
        if self.process.stdin is not None:
            self.process.stdin.close()


class Members:
    """Trains jobs, each by a process of a `module` of this package. Leaving the context ends what still runs.

    Each process has a group of its own, so that a terminal's Ctrl-C reaches only this one, which passes it on once. A
    batch system's SIGTERM reaches all of them: a process must not take what is passed on for a second request, after
    which it would leave without saving (`StopRequest`'s `leaves`). With several `workers` each is bound to an equal
    share of the cores, where the system can do that: their wall times can be compared. A single one has all cores,
    as a run that is started by hand. They read from a pipe that closes when this process ends.
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
        """End what runs at once. Their files are whole at any moment."""
        for running in self._running:
            running.process.kill()

    def ask_to_stop(self, number: int) -> None:
        """Pass a signal on, so that they save and end; nothing more is started."""
        if self._asked is None:
            self._asked = number
            for running in self._running:
                running.process.send_signal(number)

    def train(self, jobs: Sequence[Job], stop_signal: StopSignal, meanwhile: Callable[[], None]) -> Iterator[Outcome]:
        """Start the jobs in their order, and give each one's outcome when it has ended.

        Args:
            jobs: what to train.
            stop_signal: asked often; once it gives a number, that signal is passed on.
            meanwhile: called often while processes run.
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
            meanwhile()
            if not ended:
                time.sleep(_WAIT)

    def _start(self, job: Job) -> None:
        slot = min(set(range(len(self._shares))) - {running.slot for running in self._running})
        errors = tempfile.TemporaryFile()  # a pipe that nobody reads would fill and stop its writer
        process = subprocess.Popen(
            [sys.executable, *self._program, *job.words],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            env=program_environment(),
            process_group=0,
        )
        if len(self._shares) > 1 and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(process.pid, self._shares[slot])  # long before it imports JAX, which counts them
        self._running.append(_Process(job, process, errors, slot))


def program_words(module: str) -> tuple[str, ...]:
    """What Python is given to run a module, not from the working directory, but from where this process has it."""
    return "-P", "-m", module


def core_shares(workers: int) -> list[set[int]]:
    """Disjoint sets of the cores that this process may use, equally many for each worker, as long as there are any."""
    cores = available_cores()
    each = len(cores) // workers
    return [set(cores[worker * each : (worker + 1) * each]) for worker in range(workers)]


def available_cores() -> list[int]:
    """Numbers of the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def signal_name(status: int) -> str:
    """What ended a process of this negative status, such as 'SIGKILL'."""
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"


def program_environment() -> dict[str, str]:
    """This process's, so that one of `program_words` imports the packages that this one did."""
    here = str(Path(__file__).parents[2])
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")]))}


def _last_line(errors: IO[bytes]) -> str:
    size = errors.seek(0, os.SEEK_END)
    errors.seek(max(0, size - _LONGEST_ERROR))
    lines = errors.read().decode(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
