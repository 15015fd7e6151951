"""What can end a run before its time, each with an exit status of its own. Bad input is `settings.ConfigError`, 2."""

from pathlib import Path


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
