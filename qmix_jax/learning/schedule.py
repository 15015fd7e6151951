"""The learning rate: a decay of one of several shapes, that may be given another end while it runs."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import jax.numpy as jnp

from qmix_jax.config import Config
from qmix_jax.types import Array, Schedule

# Height of the decay over its end, from what is left of it.
_SHAPES: Mapping[str, Callable[[Array], Array]] = MappingProxyType(
    {
        "constant": jnp.ones_like,
        "linear": lambda left: left,
        "quadratic": jnp.square,
        "cosine": lambda left: 0.5 * (1.0 - jnp.cos(jnp.pi * left)),
    }
)


def initial_schedule(config: Config) -> Schedule:
    """The decay of a new run: over all its updates."""
    return Schedule(start=jnp.int32(0), left=jnp.float32(1.0), end=jnp.int32(config.total_updates))


def share_left(schedule: Schedule, updates: Array) -> Array:
    """What is left of the decay after int32[] `updates`, from 1 at a run's start to 0 at its end. float32[]."""
    length = jnp.maximum(schedule.end - schedule.start, 1).astype(jnp.float32)
    made = (updates - schedule.start).astype(jnp.float32)
    return schedule.left * (1.0 - jnp.clip(made / length, 0.0, 1.0))


def learning_rate(config: Config, schedule: Schedule, updates: Array) -> Array:
    """Step size of the update that follows int32[] `updates` others. float32[]."""
    left = share_left(schedule, updates)
    end = config.lr_end_fraction
    if config.lr_schedule == "exponential":
        return config.lr * end ** (1.0 - left)
    lowest = config.lr * end
    return lowest + (config.lr - lowest) * _SHAPES[config.lr_schedule](left)


def extend_schedule(schedule: Schedule, updates: Array, end: int) -> Schedule:
    """Go on from where the decay stands after int32[] `updates`, towards another last update."""
    return Schedule(start=updates, left=share_left(schedule, updates), end=jnp.int32(end))
