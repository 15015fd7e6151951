"""Converts time steps to the contract's dtypes where an environment uses others with the same meaning."""

from dataclasses import dataclass, fields
from typing import Any

import jax
import jax.numpy as jnp

from env_jax.contract import check_shapes, expected_time_step
from env_jax.last_action import LastAction
from env_jax.types import Array, Environment, EnvSpec, TimeStep

_FLAGS = ("action_mask", "terminated", "truncated")


@dataclass(frozen=True, eq=False)
class Converted:
    """`environment` with time steps of the contract's dtypes.

    Numbers become float32; flags and masks of other dtypes are true where they are not 0.
    """

    environment: Environment

    @property
    def spec(self) -> EnvSpec:
        """The environment's own."""
        return self.environment.spec

    def reset(self, key: Array) -> tuple[Any, TimeStep]:
        """Start an episode."""
        state, time_step = self.environment.reset(key)
        return state, _converted(time_step)

    def step(self, key: Array, state: Any, actions: Array) -> tuple[Any, TimeStep]:
        """Take one step with int32[N] actions."""
        state, time_step = self.environment.step(key, state, actions)
        return state, _converted(time_step)


def conform(environment: Environment) -> Environment:
    """Return `environment`, in a `Converted` if its dtypes are not those of the contract.

    Nothing is compiled or run. This package's own environments and adapters are returned as they are.

    Raises:
        ContractError: naming the field that does not fit.
    """
    if isinstance(environment, LastAction):
        inner = conform(environment.environment)
        return environment if inner is environment.environment else LastAction(inner)
    if type(environment).__module__.startswith("env_jax."):
        return environment
    found = check_shapes(environment)
    wanted = jax.tree.map(lambda leaf: leaf.dtype, expected_time_step(environment.spec))
    fits = all(jax.tree.map(lambda leaf: leaf.dtype, shown) == wanted for shown in found)
    return environment if fits and _is_hashable(environment) else Converted(environment)


def _is_hashable(environment: Environment) -> bool:
    try:
        hash(environment)
    except TypeError:
        return False
    return True


def _converted(time_step: TimeStep) -> TimeStep:
    values = {field.name: jnp.asarray(getattr(time_step, field.name)) for field in fields(time_step)}
    return TimeStep(**{name: x.astype(bool) if name in _FLAGS else x.astype(jnp.float32) for name, x in values.items()})
