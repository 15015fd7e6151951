"""Graceful stop on Ctrl-C and SIGTERM; a second signal, or one during compilation, ends the process at once."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from types import FrameType
from typing import Any, Self

from qmix_jax.cli.command import stopped_line
from qmix_jax.errors import StoppedError
from qmix_jax.storage.lock import release_all

StopSignal = Callable[[], int | None]  # number of the signal received, None before

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_ONE_REQUEST = 0.1  # seconds; signals closer together count as one: GNU timeout sends its signal twice


class StopRequest:
    """Context that records the first SIGINT or SIGTERM. For programs, not libraries: it replaces signal handlers.

    Python runs handlers between bytecode instructions, which may be a minute apart while XLA compiles. So the handlers
    do nothing, and a thread reads the signals from a pipe.

    Args:
        last_act: called in that thread before the second signal ends the process.
        leaves: whether a second signal ends the process. False for workers, which their parent ends: a signal to the
            process group reaches them twice, directly and forwarded.
    """

    def __init__(self, last_act: Callable[[], None] = lambda: None, leaves: bool = True) -> None:
        self._last_act = last_act
        self._leaves = leaves
        self.signal_number: int | None = None  # the first signal, None before it
        self.unsaved: tuple[Path, str] | None = None  # see `leaving_at_once`
        self._asked = 0.0  # when it arrived
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        _entered.append(self)
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
        _entered.remove(self)

    def _watch(self, reading: int) -> None:
        while byte := os.read(reading, 1):
            if byte[0] in _SIGNALS:
                self._note(byte[0])
        os.close(reading)

    def _note(self, number: int) -> None:
        now = time.monotonic()
        if self.signal_number is None:
            self.signal_number, self._asked = number, now
            if self.unsaved is not None:
                _say(stopped_line(StoppedError(self.unsaved[0], number, self.unsaved[1])))
                self._last_act()
                release_all()
                os._exit(128 + number)
            _say(f"{signal.Signals(number).name}: saving after the current chunk; repeat to exit immediately")
        elif self._leaves and now - self._asked >= _ONE_REQUEST:
            self._last_act()
            os._exit(128 + number)  # files are intact at any moment, so no cleanup is needed


_entered: list[StopRequest] = []  # innermost last


@contextmanager
def leaving_at_once(directory: Path, done: str) -> Iterator[None]:
    """Let the first signal of a `StopRequest` end the process, if there is one: for compilation.

    XLA cannot be interrupted, may take minutes, and until it is through there is nothing to save.

    Args:
        directory: what to resume.
        done: how far it is, for the line that says how to continue.

    Raises:
        StoppedError: the signal came before.
    """
    request = _entered[-1] if _entered else None
    if request is None:
        yield
        return
    request.unsaved = directory, done
    try:
        if request.signal_number is not None:
            raise StoppedError(directory, request.signal_number, done)
        yield
    finally:
        request.unsaved = None


def exit_with_parent() -> None:
    """Exit when the parent process ends, however that happens: standard input is a pipe from it, which then closes.

    Files are intact at any moment.
    """
    Thread(target=_await_end, daemon=True).start()


def _await_end() -> None:
    os.read(0, 1)  # nothing is ever written
    os._exit(1)


def _say(line: str) -> None:
    """Write to standard error, in a terminal below the bar, without locks that another thread may hold."""
    with suppress(AttributeError, OSError, ValueError):  # it is missing or closed
        begin = "\n" if sys.stderr.isatty() else ""
        os.write(sys.stderr.fileno(), f"{begin}{line}\n".encode(errors="backslashreplace"))


def _do_nothing(number: int, frame: FrameType | None) -> None:
    """Ignore a signal. Unlike SIG_IGN, it is not inherited by children and still writes to the pipe."""
