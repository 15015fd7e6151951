"""What can end a run before its time, each with an exit status of its own. Bad input is `settings.ConfigError`, 2."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qmix_jax.settings import ConfigError, DamagedError


class RunError(Exception):
    """A run that had to end; what was saved is whole, and the message is one line."""

    exit_status = 1


class DivergedError(RunError):
    """Losses or gradients were not finite for too long, or too often.

    Args:
        message: what happened, in one line.
        finished: the folder of a run that trained to its end all the same, whose files are complete; else None.
    """

    exit_status = 3

    def __init__(self, message: str, finished: Path | None = None) -> None:
        super().__init__(message)
        self.finished = finished


class CannotWriteError(RunError):
    """A file of the run could not be written."""

    exit_status = 4


class StoppedError(RunError):
    """A signal asked the run to end; it can be resumed."""

    def __init__(self, directory: Path, signal_number: int, done: str) -> None:
        super().__init__(f"stopped at {done}")
        self.directory = directory
        self.exit_status = 128 + signal_number


_BY_CALLER = "raised by the function that was given to the run, which can be resumed"


@contextmanager
def calling_back() -> Iterator[None]:
    """Mark what a caller's own function raises, so that nothing takes it for an error of the run."""
    try:
        yield
    except Exception as error:
        error.add_note(_BY_CALLER)
        raise


def is_callers(error: Exception) -> bool:
    """Whether it was raised under `calling_back`."""
    return _BY_CALLER in getattr(error, "__notes__", ())


@contextmanager
def sparing(what: object) -> Iterator[None]:
    """Warn in one line of stderr where `what` fails, and go on: no result depends on it, such as a plot's file."""
    try:
        yield
    except Exception as error:  # whatever a library of plots or dashboards raises
        begin = "\n" if sys.stderr is not None and sys.stderr.isatty() else ""  # there may be a progress bar
        print(f"{begin}warning: {what}: {_reason(error)}", file=sys.stderr)


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


@contextmanager
def reporting(directory: Path, kind: str) -> Iterator[None]:
    """Name the directory in the last line, however a run ends; what the disk refuses ends it in one line."""
    refused = False
    try:
        yield
    except (ConfigError, DamagedError, FloatingPointError, OSError) as error:
        if is_callers(error):
            raise
        if isinstance(error, ConfigError):
            refused = True  # nothing was done
            raise
        if isinstance(error, DamagedError):
            raise RunError(str(error)) from error
        if isinstance(error, FloatingPointError):
            raise RunError(f"JAX_DEBUG_NANS or JAX_DEBUG_INFS: {str(error).splitlines()[0]}") from error
        raise CannotWriteError(f"cannot write {error.filename or directory}: {error.strerror}") from error
    finally:
        if not refused:
            print(f"{kind} directory: {directory}", flush=True)
