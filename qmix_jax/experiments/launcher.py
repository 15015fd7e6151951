"""What a launcher does: it trains groups of runs, in this process, in others, or on other machines."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol, Self

from qmix_jax.runs.signals import StopSignal


class Job(NamedTuple):
    """A group of runs for one fresh process."""

    name: str
    words: list[str]  # command-line arguments of the module
    text: str = ""  # the group, a line on its standard input


class Outcome(NamedTuple):
    """How a job ended."""

    job: Job
    status: int  # exit status; minus the signal, if one ended it
    message: str  # last line of its stderr


class Launcher(Protocol):
    """Context that trains jobs; leaving it ends those that still run. Their files are complete at any moment."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: Any) -> None: ...

    def train(self, jobs: Sequence[Job], stop_signal: StopSignal) -> Iterator[Outcome]:
        """Train the jobs, and yield the outcome of each when it ends; `stop_signal` is polled and passed on."""

    def ask_to_stop(self, number: int) -> None:
        """Pass a signal on, on which jobs save and end, and start no more."""

    def kill(self) -> None:
        """End all jobs at once."""
