"""What the adapters of other libraries' environments share: the state they keep, and the name of what does not fit."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from env_jax.types import Array


class UnfitError(ValueError):
    """An environment that cannot be had, or that the contract cannot hold; the message is one line that says why."""


@struct.dataclass
class ForeignState:
    """A library's state, and what the adapter counts beside it."""

    world: Any  # the library's own state
    step_count: Array  # int32[], environment steps since the reset
    team_return: Array  # float32[], undiscounted sum of the team's rewards since the reset


def first_state(world: Any) -> ForeignState:
    """The state after a reset that left the library's state `world`."""
    return ForeignState(world=_strong(world), step_count=jnp.zeros((), jnp.int32), team_return=jnp.zeros(()))


def next_state(state: ForeignState, world: Any, rewards: Array) -> ForeignState:
    """The state after a step that left the library's state `world` and paid the agents float32[N]."""
    return ForeignState(
        world=_strong(world), step_count=state.step_count + 1, team_return=state.team_return + jnp.sum(rewards)
    )


def episode_metrics(state: ForeignState) -> dict[str, Array]:
    """Return the undiscounted team return of a finished episode, float32[], as is published about them."""
    return {"undiscounted_return": state.team_return}


def concatenated(observations: Array) -> Array:
    """Turn observations float32[N, O] into the global state of an environment that has none, float32[N * O]."""
    return observations.reshape(-1)


def one_step_longer(world: Any, kind: type, limit: str) -> Any:
    """A copy of a library's environment whose own time limit lies one step later, that of what it wraps too.

    The libraries end an episode at their limit as they end one that is over. An adapter counts the steps itself: what
    still ends by its limit has ended for another reason.

    Args:
        world: the environment.
        kind: what a wrapped environment is an instance of.
        limit: the attribute that holds the limit.
    """
    longer = object.__new__(type(world))  # copy.copy asks wrappers for attributes that they do not have yet
    for name, value in vars(world).items():
        is_limit = name == limit and value is not None
        copied = value + 1 if is_limit else one_step_longer(value, kind, limit) if isinstance(value, kind) else value
        object.__setattr__(longer, name, copied)
    return longer


@contextmanager
def library_style() -> Iterator[None]:
    """Ranks and dtypes that the libraries mix; our own tests forbid it."""
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield


def _strong(world: Any) -> Any:
    """The same numbers without weak types, which differ between a reset and a step of some environments."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.result_type(leaf)), world)
