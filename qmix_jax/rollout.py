"""One step of all environments with an epsilon-greedy team."""

from typing import Any

import jax

from env_jax.types import Environment, TimeStep
from qmix_jax.exploration import epsilon_greedy_action
from qmix_jax.selection import select
from qmix_jax.types import Array


def choose_actions(key: Array, q_values: Array, action_mask: Array, epsilon: Array) -> Array:
    """Epsilon-greedy, each agent on its own: float32[N, E, A], bool[E, N, A], float32[] -> int32[E, N]."""
    num_envs, num_agents, _ = action_mask.shape
    uniform = jax.random.uniform(key, (num_envs, num_agents))
    over_agents = jax.vmap(epsilon_greedy_action, in_axes=(0, 0, 0, None))
    return jax.vmap(over_agents, in_axes=(0, 1, 0, None))(uniform, q_values, action_mask, epsilon)


def step_environments(
    environment: Environment, key: Array, env_state: Any, actions: Array
) -> tuple[Any, TimeStep, TimeStep]:
    """Step every environment, and reset those whose episode ended.

    Args:
        environment: unbatched environment.
        key: key[], used once.
        env_state: environment states batched over E.
        actions: int32[E, N].

    Returns:
        States to go on from; the time steps to go on from (a reset's where the episode ended); the time steps
        that the actions led to, with their rewards and flags.
    """
    num_envs = actions.shape[0]
    step_key, reset_key = jax.random.split(key)
    stepped_state, stepped = jax.vmap(environment.step)(jax.random.split(step_key, num_envs), env_state, actions)
    reset_state, reset = jax.vmap(environment.reset)(jax.random.split(reset_key, num_envs))
    finished = stepped.terminated | stepped.truncated

    env_state, time_step = select(finished, (reset_state, reset), (stepped_state, stepped))
    return env_state, time_step, stepped
