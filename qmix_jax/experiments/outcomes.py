"""What becomes of processes that train runs, and how far they have come."""

import signal
from collections.abc import Callable, Iterable, Sequence

from qmix_jax.analysis.run_record import has_ended
from qmix_jax.config import Config
from qmix_jax.errors import CannotWriteError
from qmix_jax.experiments.workers import Members, Outcome, signal_name
from qmix_jax.runs.progress import GroupProgress
from qmix_jax.runs.signals import StopRequest
from qmix_jax.settings import ConfigError
from qmix_jax.storage.directory import RunDirectory

DONE, REFUSED, DIVERGED, CANNOT_WRITE = 0, 2, 3, 4  # exit statuses, see `command`

Run = tuple[Config, RunDirectory]


def follow(
    outcomes: Iterable[Outcome], processes: Members, stop: StopRequest, ended: Callable[[Outcome], None]
) -> dict[str, str]:
    """Wait for all processes. Once one is refused or cannot write, as the next would be, the others are asked to stop.

    Args:
        outcomes: how they end, one after another.
        processes: they.
        stop: whether they were asked to stop.
        ended: called with every outcome that is the process's own.

    Returns:
        Why processes failed, by the names of their jobs.

    Raises:
        ConfigError: one was refused.
        CannotWriteError: one could not write.
    """
    failures: dict[str, str] = {}
    refusal: ConfigError | CannotWriteError | None = None
    for outcome in outcomes:
        if outcome.status in (REFUSED, CANNOT_WRITE):
            error = ConfigError if outcome.status == REFUSED else CannotWriteError
            refusal = refusal or error(f"{outcome.job.name}: {reason(outcome)}")
            processes.ask_to_stop(signal.SIGTERM)
        elif outcome.status in (DONE, DIVERGED):
            ended(outcome)
        elif stop.signal_number is None and refusal is None:
            failures[outcome.job.name] = reason(outcome)
            ended(outcome)
    if refusal is not None:
        raise refusal
    return failures


def reason(outcome: Outcome) -> str:
    """What the process said last, or how it ended."""
    ended = f"by {signal_name(outcome.status)}" if outcome.status < 0 else f"with status {outcome.status}"
    told = outcome.message.partition(": error: ")[2]
    return told or f"ended {ended}{': ' if outcome.message else ''}{outcome.message}"


def show_runs(progress: GroupProgress, runs: Sequence[Run]) -> None:
    """Let a bar that somebody watches say how far runs have come, by their files."""
    if progress.visible:
        ended = [has_ended(directory) for _, directory in runs]
        steps = sum(
            config.env_steps if done else steps_made(directory)
            for (config, directory), done in zip(runs, ended, strict=True)
        )
        progress.update(steps, sum(ended))


def steps_made(directory: RunDirectory) -> int:
    """Environment steps of a run by its timing.csv, which is being written; 0 where it does not say so."""
    try:
        lines = directory.timing.read_text().split("\n")[1:-1]
        return int(lines[-1].partition(",")[0]) if lines else 0
    except (OSError, ValueError):
        return 0
