"""Ctrl-C and SIGTERM ask a run to end well; a second one ends it at once."""

import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from threading import Thread
from types import FrameType
from typing import Any, Self

StopSignal = Callable[[], int | None]  # number of the signal that asked to stop, None as long as none did

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_ONE_REQUEST = 0.1  # seconds; closer signals are the same request: GNU timeout sends its own twice


class StopRequest:
    """Remembers the first SIGINT or SIGTERM while it is entered. For programs: it replaces signal handlers.

    Python runs handlers between two of its own instructions, which may be a minute apart while XLA compiles. So
    the handlers do nothing, and a thread reads from a pipe which signals came.

    Args:
        last_act: called, in that thread, before the second signal ends the process.
        leaves: whether a second signal ends it. Not a process that is tied to another one, which ends it: a signal to
            all of them reaches it twice, by itself and passed on.
    """

    def __init__(self, last_act: Callable[[], None] = lambda: None, leaves: bool = True) -> None:
        self._last_act = last_act
        self._leaves = leaves
        self.signal_number: int | None = None  # what was asked for, None as long as nothing was
        self._asked = 0.0  # when
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        reading, self._writing = os.pipe()
        os.set_blocking(self._writing, False)
        self._previous_pipe = signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        self._thread = Thread(target=self._watch, args=(reading,), daemon=True)
        self._thread.start()
        for number in _SIGNALS:
            self._previous[number] = signal.signal(number, _do_nothing)
        return self

    def __exit__(self, *error: Any) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._previous_pipe)
        os.close(self._writing)
        self._thread.join()

    def _watch(self, reading: int) -> None:
        while byte := os.read(reading, 1):
            if byte[0] in _SIGNALS:
                self._note(byte[0])
        os.close(reading)

    def _note(self, number: int) -> None:
        now = time.monotonic()
        if self.signal_number is None:
            self.signal_number, self._asked = number, now
            line = f"\n{signal.Signals(number).name}: saving after the running chunk; again to leave at once\n"
            with suppress(AttributeError, OSError, ValueError):  # no stderr, or one that nobody reads
                os.write(sys.stderr.fileno(), line.encode())
        elif self._leaves and now - self._asked >= _ONE_REQUEST:
            self._last_act()
            os._exit(128 + number)  # files are whole at any moment, so nothing needs to be put in order


def end_with_starter() -> None:
    """End this process when the one that started it does, however that happens: its end of a pipe closes, our input.

    Files are whole at any moment.
    """
    Thread(target=_await_end, daemon=True).start()


def _await_end() -> None:
    os.read(0, 1)  # nothing is ever written
    os._exit(1)


def _do_nothing(number: int, frame: FrameType | None) -> None:
    """Not SIG_IGN, which children would inherit, and which leaves nothing in the pipe."""
