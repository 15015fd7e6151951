"""Follows training processes: what their exit statuses mean, and the progress of their runs."""

import signal
from collections.abc import Callable, Iterable, Sequence

from qmix_jax.analysis.run_record import has_ended
from qmix_jax.config import Config
from qmix_jax.errors import CannotWriteError, ConfigError
from qmix_jax.experiments.workers import Outcome, WorkerPool, signal_name
from qmix_jax.runs.progress import GroupProgress
from qmix_jax.runs.signals import StopRequest
from qmix_jax.storage.directory import RunDirectory

DONE, REFUSED, DIVERGED, CANNOT_WRITE = 0, 2, 3, 4  # exit statuses, see `command`

Run = tuple[Config, RunDirectory]


def follow(
    outcomes: Iterable[Outcome], pool: WorkerPool, stop: StopRequest, ended: Callable[[Outcome], None]
) -> dict[str, str]:
    """Wait for all processes. If one is refused or cannot write, as the next would be, ask the others to stop.

    Args:
        outcomes: the processes' outcomes, as they end.
        pool: the processes.
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
            pool.ask_to_stop(signal.SIGTERM)
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


def show_runs(progress: GroupProgress, runs: Sequence[Run]) -> None:
    """Update a visible progress bar from the runs' files."""
    if progress.visible:
        ended = [has_ended(directory) for _, directory in runs]
        steps = sum(
            config.env_steps if done else steps_made(directory)
            for (config, directory), done in zip(runs, ended, strict=True)
        )
        progress.update(steps, sum(ended))


def steps_made(directory: RunDirectory) -> int:
    """Return a run's environment steps by its timing.csv, which is being written; 0 where it cannot be read."""
    try:
        lines = directory.timing.read_text().split("\n")[1:-1]
        return int(lines[-1].partition(",")[0]) if lines else 0
    except (OSError, ValueError):
        return 0
