"""JaxMARL's environments (Rutherford et al. 2024) in our contract: dictionaries of agents become rows of arrays."""

from dataclasses import dataclass, field
from typing import Any, cast

import jax
import jax.numpy as jnp
import jaxmarl
from jaxmarl.environments.multi_agent_env import MultiAgentEnv
from jaxmarl.environments.spaces import Discrete

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

_WORLD_STATE = "world_state"  # where some environments put the global state among the agents' observations


def names() -> tuple[str, ...]:
    """Every name that the library registers; not all of them fit."""
    return tuple(jaxmarl.registered_envs)


def make(name: str, max_steps: int) -> "FromJaxMARL":
    """The environment of a registered name, with its library's defaults; `max_steps` as for `FromJaxMARL`.

    Raises:
        UnfitError: it cannot be made, or does not fit.
    """
    try:
        with library_style():
            world = jaxmarl.make(name)
    except Exception as error:  # whatever a stranger's constructor may raise
        raise UnfitError(f"JaxMARL cannot make it: {error}") from error
    return FromJaxMARL(world, max_steps, f"jaxmarl:{name}")


@dataclass(frozen=True)
class FromJaxMARL:
    """A cooperative `world` of JaxMARL whose agents have the same sizes. Hashable: a static argument of `jax.jit`.

    Rewards are each agent's own, as the library pays them, and the team's reward is their sum (as in JaxMARL's own
    Q-learning). Where all are paid a shared reward, the team gets it N times: a scale, the same for every policy.

    An episode lasts `max_steps` steps, or the environment's own limit (its attribute `max_steps`) where that is
    shorter, and is then truncated. The library does not tell that limit from an end, so that the adapter steps a copy
    whose limit is one step later: what that ends, at whichever step, has terminated. An observation of the time left,
    such as Overcooked's urgency, is therefore one step late. A limit that the library keeps by another name counts as
    an end. (The particle environments, MPE, would go on for one step more than the limit they state; here they do not.)

    Raises:
        UnfitError: agents of several kinds, of different sizes, or with actions that are not numbered.
    """

    world: MultiAgentEnv
    max_steps: int
    name: str
    spec: EnvSpec = field(init=False, compare=False, repr=False)
    _longer: MultiAgentEnv = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Ask the environment for its sizes, once."""
        object.__setattr__(self, "spec", _spec(self.world, self.name, self.max_steps))
        object.__setattr__(self, "_longer", one_step_longer(self.world, MultiAgentEnv, "max_steps"))

    def reset(self, key: Array) -> tuple[ForeignState, TimeStep]:
        """Start an episode."""
        with library_style():
            seen, world = self.world.reset(jax.random.key_data(key))
            never = jnp.zeros((), bool)
            return first_state(world), self._time_step(seen, world, jnp.zeros(self.spec.num_agents), never, never)

    def step(self, key: Array, state: ForeignState, actions: Array) -> tuple[ForeignState, TimeStep]:
        """Take one step with int32[N] actions."""
        with library_style():
            chosen = dict(zip(self.world.agents, actions, strict=True))
            seen, world, paid, done, _ = self._longer.step_env(jax.random.key_data(key), state.world, chosen)
            rewards = jnp.stack([jnp.asarray(paid[agent], jnp.float32) for agent in self.world.agents])
            state = next_state(state, world, rewards)
            terminated = jnp.asarray(done["__all__"], bool)
            truncated = ~terminated & (state.step_count >= self.spec.max_steps)
            return state, self._time_step(seen, world, rewards, terminated, truncated)

    def _time_step(self, seen: Any, world: Any, rewards: Array, terminated: Array, truncated: Array) -> TimeStep:
        agents, spec = self.world.agents, self.spec
        observations = jnp.stack([seen[agent].reshape(-1).astype(jnp.float32) for agent in agents])
        mask = jnp.ones((spec.num_agents, spec.num_actions), bool)
        allowed_actions = _allowed_actions(self.world)
        if allowed_actions is not None:
            allowed = allowed_actions(world)
            mask = jnp.stack([allowed[agent].astype(bool) for agent in agents])
        has_state = spec.state_from_observations is None
        return TimeStep(
            observations=observations,
            state=seen[_WORLD_STATE].reshape(-1).astype(jnp.float32) if has_state else concatenated(observations),
            action_mask=mask,
            rewards=rewards,
            terminated=terminated,
            truncated=truncated,
        )


def _spec(world: MultiAgentEnv, name: str, max_steps: int) -> EnvSpec:
    kinds = sorted({str(agent).rpartition("_")[0] for agent in world.agents})
    if len(kinds) > 1:
        raise UnfitError(f"its agents are of several kinds, {' and '.join(kinds)}; must be of one")
    for agent in world.agents:
        if not isinstance(world.action_space(agent), Discrete):
            raise UnfitError(f"the actions of {agent} are {world.action_space(agent)}; must be numbered")
    try:
        with library_style():
            seen, _ = jax.eval_shape(lambda key: world.reset(jax.random.key_data(key)), jax.random.key(0))
        shapes = [seen[agent].shape for agent in world.agents]
    except Exception as error:  # whatever a stranger's reset may raise
        raise UnfitError(f"it shows no observation for each agent: {error}") from error
    actions = [int(cast(Discrete, world.action_space(agent)).n) for agent in world.agents]
    for what, sizes in (("actions", actions), ("observations", shapes)):
        if len(set(sizes)) > 1:
            of_each = ", ".join(f"{agent} {size}" for agent, size in zip(world.agents, sizes, strict=True))
            raise UnfitError(f"its agents' {what} differ in size ({of_each}); must be alike")
    dtype, size = seen[world.agents[0]].dtype, seen[world.agents[0]].size
    own_limit = getattr(world, "max_steps", None)
    return EnvSpec(
        name=name,
        num_agents=len(world.agents),
        num_actions=actions[0],
        observation_size=size,
        state_size=seen[_WORLD_STATE].size if _WORLD_STATE in seen else size * len(world.agents),
        max_steps=max_steps if own_limit is None else min(max_steps, int(own_limit)),
        observation_dtype=dtype if dtype.itemsize == 1 else jnp.float32,
        masks_actions=_allowed_actions(world) is not None,
        state_from_observations=None if _WORLD_STATE in seen else concatenated,
        episode_metrics=episode_metrics,
    )


def _allowed_actions(world: MultiAgentEnv) -> Any:
    """Its function of the state that says which actions are allowed, by agent; None where all always are."""
    if type(world).get_avail_actions is not MultiAgentEnv.get_avail_actions:
        return world.get_avail_actions
    return getattr(world, "get_legal_moves", None)  # Hanabi's name for it
