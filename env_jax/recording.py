"""Recordings of episodes step by step, for pictures and replay pages."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from env_jax.types import Array, Environment, TimeStep


class Recording(NamedTuple):
    """An episode of T steps."""

    states: Any  # the environment's states, [T + 1, ...]: before every step, and after the last one
    time_steps: TimeStep  # [T + 1, ...], observations of these states and the rewards on the way there
    actions: Array  # int[T, N]


def record(
    environment: Environment, state: Any, time_step: TimeStep, actions: Array, keys: Array | None = None
) -> Recording:
    """Record the joint actions int[T, N] from a state and its time step.

    Steps after the episode's end are recorded too, see `cut`.

    Args:
        environment: the environment.
        state: its state at the start.
        time_step: its time step at the start.
        actions: the joint actions, int[T, N].
        keys: of the steps, [T]; None for environments that ignore them, such as GridWorld25.
    """
    ignored = jax.random.key(0)

    def step(state: Any, taken: tuple[Array, Array | None]) -> tuple[Any, tuple[Any, TimeStep]]:
        action, key = taken
        key = jax.random.clone(ignored) if key is None else key
        after = environment.step(key, state, action.astype(jnp.int32))
        return after[0], after

    _, (states, time_steps) = jax.lax.scan(step, state, (actions, keys))
    before = (state, time_step)
    states, time_steps = jax.tree.map(lambda x, xs: jnp.concatenate([x[None], xs]), before, (states, time_steps))
    return Recording(states, time_steps, actions)


def cut(recording: Recording, length: int) -> Recording:
    """Return the first `length` steps."""
    states, time_steps = jax.tree.map(lambda x: x[: length + 1], (recording.states, recording.time_steps))
    return Recording(states, time_steps, recording.actions[:length])
