"""Jumanji's environments of several agents (Bonnet et al. 2024) in our contract: dm_env's time steps become ours."""

from dataclasses import dataclass, field
from typing import Any, cast

import jax
import jax.numpy as jnp
import jumanji
from jumanji import specs
from jumanji.env import Environment as World

from env_jax.foreign.contract import (
    ForeignState,
    UnfitError,
    concatenated,
    episode_metrics,
    first_state,
    library_style,
    next_state,
    one_step_longer,
)
from env_jax.types import Array, EnvSpec, TimeStep


def names() -> tuple[str, ...]:
    """Every name that the library registers; not all of them fit."""
    return tuple(sorted(jumanji.registered_environments()))


def make(name: str, max_steps: int) -> "FromJumanji":
    """The environment of a registered name, with its library's defaults; `max_steps` as for `FromJumanji`.

    Raises:
        UnfitError: it cannot be made, or does not fit.
    """
    try:
        with library_style():
            world = jumanji.make(name)
    except Exception as error:  # whatever a stranger's constructor may raise
        raise UnfitError(f"Jumanji cannot make it: {error}") from error
    return FromJumanji(world, max_steps, f"jumanji:{name}")


@dataclass(frozen=True)
class FromJumanji:
    """A `world` of Jumanji that shows each agent a view of its own. Hashable: a static argument of `jax.jit`.

    Rewards by agent are each agent's own, as the library pays them. A single reward is the team's: every agent gets its
    Nth part, so that the sum is the library's.

    An episode lasts `max_steps` steps, or the environment's own limit (its attribute `time_limit`) where that is
    shorter, and is then truncated. Some of these environments call that a termination, with a discount of 0, so that
    the adapter steps a copy whose limit is one step later: what that ends with a discount of 0, at whichever step, has
    terminated. A limit that the library keeps by another name, and calls a termination, counts as an end.

    Raises:
        UnfitError: it has no views, masks and equally many actions for each agent.
    """

    world: World
    max_steps: int
    name: str
    spec: EnvSpec = field(init=False, compare=False, repr=False)
    _longer: World = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Ask the environment for its sizes, once."""
        object.__setattr__(self, "spec", _spec(self.world, self.name, self.max_steps))
        object.__setattr__(self, "_longer", one_step_longer(self.world, World, "time_limit"))

    def reset(self, key: Array) -> tuple[ForeignState, TimeStep]:
        """Start an episode."""
        with library_style():
            world, shown = self.world.reset(jax.random.key_data(key))
            never = jnp.zeros((), bool)
            return first_state(world), self._time_step(shown, jnp.zeros(self.spec.num_agents), never, never)

    def step(self, key: Array, state: ForeignState, actions: Array) -> tuple[ForeignState, TimeStep]:
        """Take one step with int32[N] actions. Ignores the key: these environments keep one of their own."""
        del key
        with library_style():
            world, shown = self._longer.step(state.world, actions)
            agents = self.spec.num_agents
            rewards = shown.reward if shown.reward.ndim else jnp.full(agents, shown.reward / agents)
            state = next_state(state, world, rewards.astype(jnp.float32))
            terminated = shown.last() & jnp.all(shown.discount == 0.0)
            truncated = ~terminated & (shown.last() | (state.step_count >= self.spec.max_steps))
            return state, self._time_step(shown, rewards.astype(jnp.float32), terminated, truncated)

    def _time_step(self, shown: Any, rewards: Array, terminated: Array, truncated: Array) -> TimeStep:
        views = shown.observation.agents_view
        observations = views.reshape(self.spec.num_agents, -1).astype(jnp.float32)
        return TimeStep(
            observations=observations,
            state=concatenated(observations),
            action_mask=shown.observation.action_mask,
            rewards=rewards,
            terminated=terminated,
            truncated=truncated,
        )


def _spec(world: World, name: str, max_steps: int) -> EnvSpec:
    actions, seen = world.action_spec, cast(Any, world.observation_spec)
    if not isinstance(actions, specs.MultiDiscreteArray) or len(set(actions.num_values.reshape(-1).tolist())) > 1:
        raise UnfitError(
            f"its actions are {type(actions).__name__}{actions.shape}; must be alike numbers, an agent each"
        )
    for part in ("agents_view", "action_mask"):
        shape = getattr(getattr(seen, part, None), "shape", ())
        if shape[:1] != actions.shape:
            raise UnfitError(f"it shows no {part} for each of {actions.shape[0]} agents")
    num_agents, views = actions.shape[0], seen.agents_view
    size = int(jnp.size(views.generate_value())) // num_agents
    own_limit = getattr(world, "time_limit", max_steps)
    return EnvSpec(
        name=name,
        num_agents=num_agents,
        num_actions=int(actions.num_values[0]),
        observation_size=size,
        state_size=size * num_agents,
        max_steps=min(max_steps, int(own_limit)),
        observation_dtype=_smallest_dtype(views),
        state_from_observations=concatenated,
        episode_metrics=episode_metrics,
    )


def _smallest_dtype(views: Any) -> Any:
    """int8 for whole numbers whose stated bounds it holds, float32 for everything else."""
    bounds = jnp.iinfo(jnp.int8)
    stated = isinstance(views, specs.BoundedArray) and jnp.issubdtype(views.dtype, jnp.integer)
    if stated and jnp.min(views.minimum) >= bounds.min and jnp.max(views.maximum) <= bounds.max:
        return jnp.int8
    return jnp.float32
