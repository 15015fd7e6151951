"""What both sides are measured with: compilation, times, memory, and what a run's JSON file holds."""

import os
import threading
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import jax
from measuring import machine, peak_memory

from qmix_jax.storage.files import write_json

# Compilations that are shorter than this are of single operations, some of them made after training has begun.
_PROGRAM_SECONDS = 0.2
_BACKEND = "backend_compile"


class Instant(NamedTuple):
    """A moment on both clocks."""

    seconds: float  # time.perf_counter()
    cpu_seconds: float  # time.process_time()


class Compiled(NamedTuple):
    """A part of a compilation: tracing, lowering or XLA's work."""

    end: Instant
    duration: float
    is_backend: bool
    on_main_thread: bool


class Point(NamedTuple):
    """A greedy evaluation during training, by the side's own evaluation, in the task's unit."""

    at: Instant
    env_steps: int
    mean_return: float
    win_rate: float | None  # None where the environment has no success


def known(value: float | None) -> float | None:
    """Return None for NaN, which JSON does not have: a test without a finished episode."""
    return None if value is None or value != value else value


def now() -> Instant:
    return Instant(time.perf_counter(), time.process_time())


class Compilations:
    """Listens to JAX's own events of compilation, from when it is made."""

    def __init__(self) -> None:
        self.parts: list[Compiled] = []
        jax.monitoring.register_event_duration_secs_listener(self._hear)

    def _hear(self, event: str, duration: float, **_: Any) -> None:
        if event.startswith("/jax/core/compile/"):
            on_main_thread = threading.current_thread() is threading.main_thread()
            self.parts.append(Compiled(now(), duration, _BACKEND in event, on_main_thread))

    def training_began(self, called: Instant, before: Instant) -> Instant:
        """Return when the last program was ready that was compiled between the call and `before`, an evaluation."""
        ready = [
            part.end
            for part in self.parts
            if part.is_backend and part.on_main_thread and part.duration >= _PROGRAM_SECONDS and part.end < before
        ]
        return max([called, *ready])

    def seconds(self, since: Instant, until: Instant) -> float:
        """Return how long JAX compiled in between. Parts that lie within others count once."""
        parts = [part for part in self.parts if since <= part.end <= until]
        return covered([(part.end.seconds - part.duration, part.end.seconds) for part in parts])


def covered(intervals: Sequence[tuple[float, float]]) -> float:
    """Return the length of the union of intervals."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(intervals):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def summary(
    compilations: Compilations, called: Instant, points: Sequence[Point], ended: Instant, steps: int, updates: int
) -> dict[str, Any]:
    """Return what was measured of a run's training.

    Args:
        compilations: heard since before `called`.
        called: when the training function was called.
        points: the evaluations during training, in order.
        ended: when training had ended.
        steps: environment steps that were trained on.
        updates: gradient updates.
    """
    began = compilations.training_began(called, before=points[0].at)
    train_seconds, train_cpu_seconds = (end - start for start, end in zip(began, ended, strict=True))
    return {
        "env_steps": steps,
        "updates": updates,
        "start_seconds": began.seconds - called.seconds,
        "start_cpu_seconds": began.cpu_seconds - called.cpu_seconds,
        "compile_seconds": compilations.seconds(called, began),
        "train_seconds": train_seconds,
        "train_cpu_seconds": train_cpu_seconds,
        "steps_per_second": steps / train_seconds,
        "updates_per_second": updates / train_seconds,
        "wall_seconds": ended.seconds - called.seconds,
        "peak_mib": peak_memory(),
        "curve": [
            {
                "env_steps": point.env_steps,
                "seconds": max(0.0, point.at.seconds - began.seconds),
                "cpu_seconds": max(0.0, point.at.cpu_seconds - began.cpu_seconds),
                "return": known(point.mean_return),
                "win_rate": known(point.win_rate),
            }
            for point in points
        ],
    }


def save(path: Path, figures: dict[str, Any]) -> None:
    """Write a run's JSON file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    about = {**machine(), "optax": version("optax"), "jaxmarl": version("jaxmarl"), "flashbax": version("flashbax")}
    write_json(path, {**figures, "commit": os.environ.get("TRAINED_COMMIT", ""), "machine": about})
