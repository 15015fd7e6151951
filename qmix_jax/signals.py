"""Ctrl-C and SIGTERM ask a run to end well; a second one ends it at once."""

import os
import signal
import sys
from types import FrameType
from typing import Any, Self


class StopRequest:
    """Remembers the first SIGINT or SIGTERM while it is entered. For programs: it replaces signal handlers."""

    def __init__(self) -> None:
        self.signal_number: int | None = None  # what was asked for, None as long as nothing was
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *error: Any) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.signal_number is not None:
            os._exit(128 + number)  # files are whole at any moment, so nothing needs to be put in order
        self.signal_number = number
        name = signal.Signals(number).name
        # Not print: a handler may run in the middle of one.
        os.write(sys.stderr.fileno(), f"\n{name}: saving after the running chunk; again to leave at once\n".encode())
