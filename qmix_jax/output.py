"""Lines on standard output, without which training goes on: `| head` ends their reader, a disk may be full."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress


def print_lines(*lines: str) -> None:
    """Print lines at once, as far as they can be."""
    with forgiving():
        print(*lines, sep="\n", end="\n" if lines else "", flush=True)


@contextmanager
def forgiving() -> Iterator[None]:
    """Go on where standard output cannot be written to. If its reader has gone, nothing is written any more."""
    try:
        yield
    except BrokenPipeError:
        with suppress(OSError, ValueError):  # else what is still buffered would fail at the process's end
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, sys.stdout.fileno())
            os.close(null)
    except (OSError, ValueError):  # ValueError: it is closed
        pass
