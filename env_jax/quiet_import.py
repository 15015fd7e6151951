"""Keeps what a library prints while it is imported from users."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_import() -> Iterator[None]:
    """Silence standard output, also for a library (JaxMARL) that resets it to Python's original streams."""
    names = ("stdout", "stderr", "__stdout__", "__stderr__")
    streams = {name: getattr(sys, name) for name in names}
    try:
        for name in ("stdout", "__stdout__"):
            setattr(sys, name, None)  # which print takes for no output
        yield
    finally:
        for name, stream in streams.items():
            setattr(sys, name, stream)
