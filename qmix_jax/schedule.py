"""The learning rate: polynomial decay that may be given another end while it runs."""

import jax.numpy as jnp

from qmix_jax.config import Config
from qmix_jax.types import Array, Schedule


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
    left = share_left(schedule, updates) ** config.lr_decay_power
    end = config.lr * config.lr_end_fraction
    return end + (config.lr - end) * left


def extend_schedule(schedule: Schedule, updates: Array, end: int) -> Schedule:
    """Go on from where the decay stands after int32[] `updates`, towards another last update."""
    return Schedule(start=updates, left=share_left(schedule, updates), end=jnp.int32(end))
