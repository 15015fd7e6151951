"""Stands in for Hydra: JaxMARL's scripts decorate a `main` with it, which we do not call."""

from collections.abc import Callable
from typing import Any


def main(**_: Any) -> Callable[[Callable], Callable]:
    """Return a decorator that changes nothing."""
    return lambda function: function
