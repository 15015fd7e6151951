"""Follows training processes: what their exit statuses mean, and the progress of their runs."""

import signal
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from os import SEEK_END
from pathlib import Path
from typing import NamedTuple

from qmix_jax.analysis.run_record import has_ended
from qmix_jax.config import Config
from qmix_jax.errors import CannotWriteError, ConfigError
from qmix_jax.experiments.launcher import Launcher, Outcome
from qmix_jax.experiments.workers import signal_name
from qmix_jax.runs.progress import GroupProgress, GroupStatus, evaluation_fields
from qmix_jax.runs.signals import StopRequest
from qmix_jax.storage.directory import RunDirectory

_LONGEST_ROWS = 4_096  # bytes that hold the last row of a log
DONE, REFUSED, DIVERGED, CANNOT_WRITE = 0, 2, 3, 4  # exit statuses, see `command`


class Run(NamedTuple):
    """One of several runs."""

    name: str  # as shown to users
    config: Config
    directory: RunDirectory
    until: int | None = None  # environment steps at which it stops, to be continued; None: at its end

    def env_steps(self) -> int:
        """Return how many environment steps it makes."""
        return self.config.env_steps if self.until is None else min(self.until, self.config.env_steps)


def follow(
    outcomes: Iterable[Outcome], launcher: Launcher, stop: StopRequest, ended: Callable[[Outcome], None]
) -> dict[str, str]:
    """Wait for all processes. If one is refused or cannot write, as the next would be, ask the others to stop.

    Args:
        outcomes: the processes' outcomes, as they end.
        launcher: trains them.
        stop: whether the user asked to stop.
        ended: called with the outcome of each process that ended by itself.

    Returns:
        Why processes failed, by the names of their jobs.

    Raises:
        ConfigError: a process was refused.
        CannotWriteError: a process could not write.
    """
    failures: dict[str, str] = {}
    refusal: ConfigError | CannotWriteError | None = None
    for outcome in outcomes:
        if outcome.status in (REFUSED, CANNOT_WRITE):
            error = ConfigError if outcome.status == REFUSED else CannotWriteError
            refusal = refusal or error(f"{outcome.job.name}: {reason(outcome)}")
            launcher.ask_to_stop(signal.SIGTERM)
        elif outcome.status in (DONE, DIVERGED):
            ended(outcome)
        elif stop.signal_number is None and refusal is None:
            failures[outcome.job.name] = reason(outcome)
            ended(outcome)
    if refusal is not None:
        raise refusal
    return failures


def reason(outcome: Outcome) -> str:
    """Return the process's last error message, or how it ended."""
    ended = f"by {signal_name(outcome.status)}" if outcome.status < 0 else f"with status {outcome.status}"
    message = outcome.message.partition(": error: ")[2]
    return message or f"ended {ended}{': ' if outcome.message else ''}{outcome.message}"


def group_progress(runs: Sequence[Run], quiet: bool = False) -> GroupProgress:
    """Return the progress display of runs, read from the files that they write; `quiet` shows nothing."""
    return GroupProgress(sum(run.env_steps() for run in runs), len(runs), partial(read_status, runs), quiet)


def read_status(runs: Sequence[Run]) -> GroupStatus:
    """Read how far runs are, while they are written."""
    over = [has_ended(run.directory) for run in runs]
    steps = [
        run.env_steps() if done else min(run.env_steps(), int(last_row(run.directory.timing).get("env_steps", 0)))
        for run, done in zip(runs, over, strict=True)
    ]
    ended = [
        done or made == run.env_steps() < run.config.env_steps  # at `until`
        for run, done, made in zip(runs, over, steps, strict=True)
    ]
    running = sum((run.directory.path / "lock").exists() and not done for run, done in zip(runs, ended, strict=True))
    rows = [(run.name, last_row(run.directory.evaluation_log)) for run in runs]
    scored = [(name, row) for name, row in rows if "mean_return" in row]
    name, best = max(scored, key=lambda pair: pair[1]["mean_return"], default=("", {}))
    described = (name, *evaluation_fields(best)) if best else ()
    return GroupStatus(sum(steps), sum(ended), running, described)


def last_row(log: Path) -> dict[str, float]:
    """Return the last row of a log that is being written, by column, without empty fields; {} without a row."""
    try:
        with log.open("rb") as file:  # only its ends: it is read once a second, and grows
            header = file.readline()
            file.seek(max(len(header), file.seek(0, SEEK_END) - _LONGEST_ROWS))
            whole_lines = file.read().decode("ascii").split("\n")[:-1]
        names, values = header.decode("ascii").strip().split(","), whole_lines[-1].split(",") if whole_lines else []
        return {name: float(text) for name, text in zip(names, values, strict=True) if text} if values else {}
    except (OSError, ValueError):
        return {}
