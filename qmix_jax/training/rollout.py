"""One step of all environments with an epsilon-greedy team."""

from typing import Any

import jax

from env_jax.types import Environment, TimeStep
from qmix_jax.learning.selection import select
from qmix_jax.training.exploration import extended_action
from qmix_jax.types import Array, Exploration


def choose_actions(
    key: Array, exploration: Exploration, q_values: Array, action_mask: Array, epsilon: Array, longest: int
) -> tuple[Exploration, Array]:
    """Temporally extended epsilon-greedy actions, each agent on its own.

    Args:
        key: key[].
        exploration: what the agents are repeating, int32[E, N] each.
        q_values: float32[N, E, A], agent-major as networks give them.
        action_mask: bool[E, N, A].
        epsilon: float32[E, N], exploration rates.
        longest: most steps that a random action is repeated.

    Returns:
        What they will be repeating next, and int32[E, N] actions.
    """
    num_envs, num_agents, _ = action_mask.shape
    uniforms = jax.random.uniform(key, (num_envs, num_agents, 2))
    over_agents = jax.vmap(extended_action, in_axes=(0, 0, 0, 0, 0, None))
    over_envs = jax.vmap(over_agents, in_axes=(0, 0, 1, 0, 0, None))
    return over_envs(uniforms, exploration, q_values, action_mask, epsilon, longest)


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
