"""What can end a run before its time, each with an exit status of its own. Bad input is `settings.ConfigError`, 2."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qmix_jax.settings import ConfigError, DamagedError


class RunError(Exception):
    """A run that had to end; what was saved is whole, and the message is one line."""

    exit_status = 1


class DivergedError(RunError):
    """Losses or gradients were not finite for too long."""

    exit_status = 3


class CannotWriteError(RunError):
    """A file of the run could not be written."""

    exit_status = 4


class StoppedError(RunError):
    """A signal asked the run to end; it can be resumed."""

    def __init__(self, directory: Path, signal_number: int, done: str) -> None:
        super().__init__(f"stopped at {done}")
        self.directory = directory
        self.exit_status = 128 + signal_number


class CallbackError(Exception):
    """Carries what a caller's own function raised, its `__cause__`, past the handling of errors of the run itself."""


@contextmanager
def reporting(directory: Path, kind: str) -> Iterator[None]:
    """Name the directory in the last line, however a run ends; what the disk refuses ends it in one line."""
    refused = False
    raised: BaseException | None = None
    try:
        yield
    except ConfigError:
        refused = True  # nothing was done
        raise
    except CallbackError as error:
        raised = error.__cause__
    except DamagedError as error:
        raise RunError(str(error)) from error
    except OSError as error:
        raise CannotWriteError(f"cannot write {error.filename or directory}: {error.strerror}") from error
    finally:
        if not refused:
            print(f"{kind} directory: {directory}", flush=True)
    if raised is not None:
        raise raised
