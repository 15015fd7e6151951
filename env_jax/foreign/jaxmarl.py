"""JaxMARL's environments (Rutherford et al. 2024) in our contract: dictionaries of agents become rows of arrays."""

from dataclasses import dataclass
from typing import Any, cast

import jax
import jax.numpy as jnp
import jaxmarl
from jaxmarl.environments.multi_agent_env import MultiAgentEnv
from jaxmarl.environments.spaces import Discrete

from env_jax.foreign.contract import (
    ForeignEnvironment,
    UnfitError,
    concatenated,
    episode_metrics,
    library_style,
    make_foreign,
    rendering,
)
from env_jax.foreign.jaxmarl_viewers import viewer
from env_jax.types import Array, EnvSpec

_GLOBAL_STATE = "world_state"  # JaxMARL's key of a global state among the agents' observations


def names() -> tuple[str, ...]:
    """Return all registered names; not all of them fit."""
    return tuple(jaxmarl.registered_envs)


def make(name: str, max_steps: int) -> "FromJaxMARL":
    """Make the environment of a registered name; arguments and errors as for `make_foreign`."""
    return make_foreign(FromJaxMARL, "JaxMARL", jaxmarl.make, name, max_steps)


@dataclass(frozen=True)
class FromJaxMARL(ForeignEnvironment):
    """A cooperative environment of JaxMARL whose agents have equal sizes, see `ForeignEnvironment`.

    Rewards are each agent's own, and the team's reward is their sum (as in JaxMARL's own Q-learning). Where all agents
    get a shared reward, the team gets it N times: a scale, the same for every policy.

    The environment's limit is its attribute `max_steps`. An observation of the time left, such as Overcooked's urgency,
    is one step late. A limit that the library keeps by another name counts as a termination. (The particle
    environments, MPE, would go on for one step beyond the limit they state; here they do not.)

    Raises:
        UnfitError: agents are of several kinds, of different sizes, or have actions that are not numbered.
    """

    _kind = MultiAgentEnv
    _limit = "max_steps"

    def _reset(self, key_data: Array) -> tuple[Any, Any]:
        shown, library_state = self.environment.reset(key_data)
        return library_state, shown

    def _step(self, key_data: Array, library_state: Any, actions: Array) -> tuple[Any, Any, Array, Array, Array]:
        agents = self.environment.agents
        by_agent = dict(zip(agents, actions, strict=True))
        shown, library_state, by_name, dones, _ = self._longer.step_env(key_data, library_state, by_agent)
        rewards = jnp.stack([jnp.asarray(by_name[agent], jnp.float32) for agent in agents])
        done = jnp.asarray(dones["__all__"], bool)
        return library_state, shown, rewards, done, done

    def _observe(self, library_state: Any, shown: Any) -> tuple[Array, Array, Array]:
        agents, spec = self.environment.agents, self.spec
        observations = jnp.stack([shown[agent].reshape(-1).astype(jnp.float32) for agent in agents])
        mask = jnp.ones((spec.num_agents, spec.num_actions), bool)
        allowed_actions = _allowed_actions(self.environment)
        if allowed_actions is not None:
            allowed = allowed_actions(library_state)
            mask = jnp.stack([allowed[agent].astype(bool) for agent in agents])
        if spec.state_from_observations is None:
            return observations, shown[_GLOBAL_STATE].reshape(-1).astype(jnp.float32), mask
        return observations, concatenated(observations), mask

    def _make_spec(self) -> EnvSpec:
        environment = self.environment
        kinds = sorted({str(agent).rpartition("_")[0] for agent in environment.agents})
        if len(kinds) > 1:
            raise UnfitError(f"its agents are of several kinds, {' and '.join(kinds)}; must be of one kind")
        for agent in environment.agents:
            if not isinstance(environment.action_space(agent), Discrete):
                raise UnfitError(f"the actions of {agent} are {environment.action_space(agent)}; must be numbered")
        try:
            with library_style():
                shown, _ = jax.eval_shape(lambda key: environment.reset(jax.random.key_data(key)), jax.random.key(0))
            shapes = [shown[agent].shape for agent in environment.agents]
        except Exception as error:  # whatever a third-party reset may raise
            raise UnfitError(f"it has no observation for each agent: {error}") from error
        actions = [int(cast(Discrete, environment.action_space(agent)).n) for agent in environment.agents]
        for what, sizes in (("actions", actions), ("observations", shapes)):
            if len(set(sizes)) > 1:
                of_each = ", ".join(f"{agent} {size}" for agent, size in zip(environment.agents, sizes, strict=True))
                raise UnfitError(f"its agents' {what} differ in size ({of_each}); must be alike")
        dtype, size = shown[environment.agents[0]].dtype, shown[environment.agents[0]].size
        has_state, own_limit = _GLOBAL_STATE in shown, getattr(environment, self._limit, None)
        return EnvSpec(
            name=self.name,
            num_agents=len(environment.agents),
            num_actions=actions[0],
            observation_size=size,
            state_size=shown[_GLOBAL_STATE].size if has_state else size * len(environment.agents),
            max_steps=self.max_steps if own_limit is None else min(self.max_steps, int(own_limit)),
            observation_dtype=dtype if dtype.itemsize == 1 else jnp.float32,
            masks_actions=_allowed_actions(environment) is not None,
            state_from_observations=None if has_state else concatenated,
            episode_metrics=episode_metrics,
            render=rendering(viewer(environment)),
        )


def _allowed_actions(environment: MultiAgentEnv) -> Any:
    """Return the function of a state that gives the allowed actions by agent; None where all always are."""
    if type(environment).get_avail_actions is not MultiAgentEnv.get_avail_actions:
        return environment.get_avail_actions
    return getattr(environment, "get_legal_moves", None)  # Hanabi's name for it
