"""Where progress is shown: a bar in terminals and notebooks, flushed lines on standard output elsewhere."""

import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from shutil import get_terminal_size
from threading import Event, RLock, Thread
from types import TracebackType
from typing import Any, Self

from qmix_jax.output import forgiving, print_lines

if find_spec("ipywidgets"):
    from tqdm.auto import tqdm
else:  # tqdm.auto would warn in a notebook, and fall back to text anyway
    from tqdm import tqdm

MOST_SILENCE = 30.0  # seconds between two lines
_TICK = 1.0  # seconds between two looks at the clock
_RECENT = 60.0  # seconds over which the speed is measured
_SHORTEST_BAR = 5  # columns; a narrower line has no room for its fields
_FORMAT = "{percentage:3.0f}% {bar} {desc}"


class Display:
    """Shows environment steps, speed, time left and further fields, as a context.

    A thread refreshes it, so that it also moves while the program compiles or waits for a long chunk. The bar goes to
    standard error, where it does not mix with a redirected output; lines go to standard output, among the program's
    others.

    Args:
        total: environment steps at the end.
        done: environment steps at the start.
        quiet: whether to show nothing.
        look: called in that thread about once a second, to call `update`.
    """

    def __init__(self, total: int, done: int = 0, quiet: bool = False, look: Callable[[], None] = lambda: None) -> None:
        self._total = total
        self._steps = done
        self._quiet = quiet
        self._look = look
        self._fields: Sequence[str] = ()
        self._marks: deque[tuple[float, int]] = deque()  # recent times and steps; none while compiling
        self._opened = self._printed = self._moved = time.monotonic()
        self._lock = RLock()
        self._closed = Event()
        self._thread = Thread(target=self._watch, daemon=True)
        self._bar: Any = None
        if is_watched() and not quiet:
            self._bar = _Bar(
                total=total,
                initial=done,
                file=sys.stdout if _in_notebook() else sys.stderr,  # which notebooks show in red
                bar_format=_FORMAT,
                dynamic_ncols=True,
                fields=self._bar_fields,
            )

    def __enter__(self) -> Self:
        self._print()
        if not self._quiet:
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if not self._quiet:
            self._closed.set()
            self._thread.join()
        if self._bar is not None:
            self._bar.close()

    def start(self) -> None:
        """Mark the end of compilation: speed and time left count from here."""
        with self._lock:
            self._moved = time.monotonic()
            self._marks.append((self._moved, self._steps))

    def update(self, steps: int, fields: Sequence[str], is_news: bool) -> None:
        """Show the environment steps made so far, and further fields. Lines are printed only of news."""
        with self._lock:
            now = time.monotonic()
            has_moved = steps != self._steps
            if has_moved:
                self._moved = now
            self._steps, self._fields = steps, fields
            if self._marks and (has_moved or steps < self._total):  # results that are written do not slow training
                self._marks.append((now, steps))
                while len(self._marks) > 2 and self._marks[1][0] < now - _RECENT:
                    self._marks.popleft()
            if self._bar is not None:
                self._bar.n = steps
                self._bar.refresh()
            elif is_news:
                self._print()

    def say(self, line: str) -> None:
        """Print a line on standard output, above the bar."""
        with self._lock:
            if self._bar is not None:
                with forgiving():
                    self._bar.write(line)
                    sys.stdout.flush()
            elif not self._quiet:
                print_lines(line)

    def _watch(self) -> None:
        while not self._closed.wait(_TICK):
            self._look()
            with self._lock:
                if self._bar is not None:
                    self._bar.refresh()
                elif time.monotonic() - self._printed >= MOST_SILENCE:
                    self._print()

    def _print(self) -> None:
        if self._bar is None and not self._quiet:
            self._printed = time.monotonic()
            print_lines(", ".join(self._line_fields()))

    def _line_fields(self) -> list[str]:
        if self._compiles():
            seconds = time.monotonic() - self._opened
            return ["compiling", *([f"{seconds:.0f} s"] if seconds >= _TICK else []), *self._fields]
        share = f" ({self._steps / self._total:.0%})"
        rate, left = self._pace()
        speed = [f"{rate:,.0f} steps/s", f"ETA {tqdm.format_interval(left)}"] if rate else []
        still = time.monotonic() - self._moved
        if still >= MOST_SILENCE:  # a long chunk, other runs compile, results are written: not the same line again
            speed = [*speed, f"last chunk {still:.0f} s ago"] if self._steps < self._total else ["writing the results"]
        return [f"{self._steps:,} of {self._total:,} steps{share}", *speed, *self._fields]

    def _bar_fields(self) -> list[str]:
        steps = f"{_short(self._steps)}/{_short(self._total)} steps"
        if self._compiles():
            return [steps, f"compiling, {time.monotonic() - self._opened:.0f} s", *self._fields]
        rate, left = self._pace()
        return [steps, *([f"{_short(rate)}/s", f"ETA {tqdm.format_interval(left)}"] if rate else []), *self._fields]

    def _compiles(self) -> bool:
        return not self._marks and self._steps < self._total

    def _pace(self) -> tuple[float, float]:
        """Return recent steps per second, and the seconds left at this speed; 0 before there are any."""
        if len(self._marks) < 2:
            return 0.0, 0.0
        (since, before), (now, steps) = self._marks[0], self._marks[-1]
        rate = (steps - before) / (now - since) if now > since else 0.0
        left = (self._total - steps) / rate - (time.monotonic() - now) if rate else 0.0
        return rate, max(0.0, left)


class _Bar(tqdm):
    """A bar that shows as many fields as fit on the line, from the left."""

    def __init__(self, *, fields: Callable[[], list[str]], **options: Any) -> None:
        self._fields = fields
        super().__init__(**options)
        measure: Any = getattr(self, "dynamic_ncols", None)  # a widget of a notebook has none
        if measure:
            self.dynamic_ncols = lambda stream: _size(*measure(stream))
            self.ncols, self.nrows = self.dynamic_ncols(self.fp)

    @property
    def format_dict(self) -> dict[str, Any]:
        """What tqdm formats a line from."""
        values = super().format_dict
        width = values["ncols"] or 0
        room = width - len("100%  ") - _SHORTEST_BAR if isinstance(width, int) and width else sys.maxsize
        values["prefix"] = fitting(self._fields(), room)
        return values


def _size(columns: int | None, rows: int | None) -> tuple[int | None, int | None]:
    """Return columns and rows, instead of the negative ones by which tqdm shows nothing.

    It measures them where a terminal has no size, such as of `docker exec -t`, `ssh -tt` in CI, and `script`.
    """
    if columns is None or rows is None or min(columns, rows) > 0:
        return columns, rows
    return get_terminal_size().columns - 1, get_terminal_size().lines - 1


def fitting(fields: Sequence[str], room: int) -> str:
    """Return the fields as text of at most `room` characters, without those on the right that do not fit."""
    shown = ""
    for field in fields:
        longer = f"{shown}, {field}" if shown else field
        if len(longer) > room:
            break
        shown = longer
    return shown


def is_watched() -> bool:
    """Whether standard error is a terminal or this is a notebook."""
    return (sys.stderr is not None and sys.stderr.isatty()) or _in_notebook()


def _in_notebook() -> bool:
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and "IPKernelApp" in shell.config


def _short(number: float) -> str:
    return tqdm.format_sizeof(number, divisor=1000) if number >= 1000 else f"{number:.0f}"
