"""Errors that end a run early, each with its own exit status, and invalid input, status 2."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qmix_jax.output import print_lines


class _OneLineError(ValueError):
    """Its message may quote untrusted text: newlines and other unprintable characters become spaces."""

    def __init__(self, message: str) -> None:
        super().__init__("".join(letter if letter.isprintable() else " " for letter in message))


class ConfigError(_OneLineError):
    """An invalid configuration; the message is one line that names the flag, its value and what is accepted."""


class DamagedError(_OneLineError):
    """Saved data is not what was written; the message is one line."""


def missing(module: str | None, extra: str) -> str:
    """Say that a module is missing, and how to install the extra that has it, from a checkout or a wheel."""
    return f"needs {module}: install the extra '{extra}', in a checkout with pip install -e '.[{extra}]'"


class RunError(Exception):
    """A run that had to end. Its saved files are intact, and the message is one line."""

    exit_status = 1


class DivergedError(RunError):
    """Losses or gradients were not finite for too long, or too often.

    Args:
        message: what happened, in one line.
        finished: the folder, if the run trained to its end and its files are complete; else None.
    """

    exit_status = 3

    def __init__(self, message: str, finished: Path | None = None) -> None:
        super().__init__(message)
        self.finished = finished


class CannotWriteError(RunError):
    """A file of the run could not be written."""

    exit_status = 4


class StoppedError(RunError):
    """A signal stopped the run; it can be resumed."""

    def __init__(self, directory: Path, signal_number: int, done: str) -> None:
        super().__init__(f"stopped at {done}")
        self.directory = directory
        self.exit_status = 128 + signal_number


_BY_CALLER = "raised by a callback given to the run, which can be resumed"


@contextmanager
def marking_callback_errors() -> Iterator[None]:
    """Mark exceptions of a caller's callback, so that they are not mistaken for errors of the run."""
    try:
        yield
    except Exception as error:
        error.add_note(_BY_CALLER)
        raise


def is_callback_error(error: Exception) -> bool:
    """Whether `error` was raised under `marking_callback_errors`."""
    return _BY_CALLER in getattr(error, "__notes__", ())


@contextmanager
def warn_on_failure(what: object) -> Iterator[None]:
    """Warn in one line on stderr if `what` fails, and continue: for plots and other outputs no result depends on."""
    try:
        yield
    except Exception as error:  # plotting and dashboard libraries raise all kinds
        begin = "\n" if sys.stderr is not None and sys.stderr.isatty() else ""  # a progress bar may be open
        print(f"{begin}warning: {what}: {_reason(error)}", file=sys.stderr)


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


@contextmanager
def reporting(directory: Path, kind: str, quiet: bool = False) -> Iterator[None]:
    """Print the directory as the last line, however a run ends; turn disk errors into one-line `RunError`s.

    `quiet`: print nothing.
    """
    refused = False
    try:
        yield
    except (ConfigError, DamagedError, FloatingPointError, OSError) as error:
        if is_callback_error(error):
            raise
        if isinstance(error, ConfigError):
            refused = True  # nothing was written
            raise
        if isinstance(error, DamagedError):
            raise RunError(str(error)) from error
        if isinstance(error, FloatingPointError):
            raise RunError(f"JAX_DEBUG_NANS or JAX_DEBUG_INFS: {str(error).splitlines()[0]}") from error
        raise CannotWriteError(f"cannot write {error.filename or directory}: {error.strerror}") from error
    finally:
        if not (refused or quiet):
            print_lines(f"{kind} directory: {directory}")
