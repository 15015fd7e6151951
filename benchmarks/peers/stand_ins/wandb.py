"""Stands in for Weights & Biases: keeps in memory what JaxMARL's scripts log, with the times."""

import time
from typing import Any, NamedTuple


class Logged(NamedTuple):
    """What one call of `log` was given."""

    seconds: float  # time.perf_counter()
    cpu_seconds: float  # time.process_time()
    metrics: dict[str, float]


logged: list[Logged] = []


def init(**_: Any) -> None:
    """Keep nothing of the run's description: it is in the settings that we pass."""


def log(metrics: dict[str, Any], step: Any = None) -> None:
    """Keep the numbers."""
    values = {name: float(value) for name, value in metrics.items()}
    logged.append(Logged(time.perf_counter(), time.process_time(), values))
