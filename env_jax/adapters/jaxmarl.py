"""GridWorld25 as a JaxMARL `MultiAgentEnv`: dictionaries by agent, under JaxMARL's own wrappers and trainers."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from env_jax.gridworld import GridWorld25
from env_jax.gridworld.constants import GRID_SIZE, NUM_ACTIONS, NUM_AGENTS, OBSERVATION_SIZE
from env_jax.gridworld.observations import observe, state_from_observations
from env_jax.quiet_import import quiet_import

with quiet_import():  # it prints which of its optional environments are missing
    from jaxmarl.environments.multi_agent_env import MultiAgentEnv
    from jaxmarl.environments.spaces import Box, Discrete

Array = jax.Array
ByAgent = dict[str, Array]


class JaxMARLGridWorld(MultiAgentEnv):
    """Agents "agent_0" .. "agent_3"; observations also hold "world_state", float32[72], for centralised training.

    `step` is JaxMARL's: it resets automatically, from a split of its key, or to `reset_state`. JaxMARL has a single
    `done`, which is true at the time limit too. `info` is empty, since its trainers reshape entries to one per agent.
    States are `env_jax.State`s.
    """

    def __init__(self, mode: str = "fixed", layout_seed: int = 1, max_steps: int = 200) -> None:
        """Make the environment; arguments and errors as for `env_jax.GridWorld25`."""
        super().__init__(num_agents=NUM_AGENTS)
        self.environment = GridWorld25(mode, layout_seed, max_steps)
        self.observation_spaces = {agent: Box(0, GRID_SIZE - 1, (OBSERVATION_SIZE,)) for agent in self.agents}
        self.action_spaces = {agent: Discrete(NUM_ACTIONS) for agent in self.agents}

    @property
    def name(self) -> str:
        """The environment's name."""
        return self.environment.spec.name

    @property
    def agent_classes(self) -> dict[str, list[str]]:
        """Return the agents, all of one class."""
        return {"agents": self.agents}

    @partial(jax.jit, static_argnums=0)
    def reset(self, key: Array) -> tuple[ByAgent, Any]:
        """Start an episode: observations float32[18] by agent, and the state."""
        state, time_step = self.environment.reset(key)
        return self._by_agent(time_step.observations), state

    def step_env(
        self, key: Array, state: Any, actions: ByAgent
    ) -> tuple[ByAgent, Any, ByAgent, ByAgent, dict[str, Any]]:
        """Take one step, without reset, with int32[] actions by agent: observations, state, rewards, dones, info."""
        joint_action = jnp.stack([actions[agent] for agent in self.agents])
        state, time_step = self.environment.step(key, state, joint_action)
        done = time_step.terminated | time_step.truncated
        rewards = {agent: time_step.rewards[i] for i, agent in enumerate(self.agents)}
        dones = dict.fromkeys([*self.agents, "__all__"], done)
        return self._by_agent(time_step.observations), state, rewards, dones, {}

    def get_obs(self, state: Any) -> ByAgent:
        """Return the observations of a state: float32[18] by agent, and "world_state"."""
        return self._by_agent(observe(state.agent_positions, state.food_positions, state.food_present))

    @partial(jax.jit, static_argnums=0)
    def get_avail_actions(self, state: Any) -> ByAgent:
        """Return the allowed actions, bool[6] by agent: always all."""
        return {agent: jnp.ones(NUM_ACTIONS, bool) for agent in self.agents}

    def _by_agent(self, observations: Array) -> ByAgent:
        views = {agent: observations[i] for i, agent in enumerate(self.agents)}
        return views | {"world_state": state_from_observations(observations)}
