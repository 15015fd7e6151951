"""Temporally extended epsilon-greedy exploration with action masks."""

import chex
import jax
import jax.numpy as jnp
import numpy as np

from qmix_jax.types import Array, Exploration


def linear_epsilon(env_steps: Array, start: float, end: float | Array, decay_steps: float | Array) -> Array:
    """Return epsilon after int32[] `env_steps`: linear from `start` to `end` over `decay_steps`. float32."""
    fraction = jnp.minimum(env_steps.astype(jnp.float32) / decay_steps, 1.0)
    return start + fraction * (end - start)


def final_epsilons(num_envs: int, greedy_envs: float, epsilon_end: float) -> Array:
    """Return epsilon after the decay: 0 in the first fraction `greedy_envs` of the environments. float32[E].

    If every environment keeps exploring, a random action soon frees two agents that block each other, and the policy
    never learns the cost of staying blocked.
    """
    return jnp.where(jnp.arange(num_envs) < round(greedy_envs * num_envs), 0.0, epsilon_end)


def decay_shares(num_envs: int, num_agents: int, spread: float) -> Array:
    """Return each agent's decay length as a fraction, from 1 - `spread` to 1. float32[E, N].

    If all agents explore at the same rate, one agent rarely explores far while the others exploit. A Latin hypercube
    sample (McKay et al. 1979) covers all mixtures of exploring and exploiting agents: each agent's fractions are spread
    evenly over the environments, in its own order.
    """
    generator = np.random.default_rng(0)
    ranks = np.stack([generator.permutation(num_envs) for _ in range(num_agents)], axis=-1)
    return jnp.asarray(1.0 - spread * (ranks + 0.5) / num_envs, jnp.float32)


def greedy_action(q_values: Array, action_mask: Array) -> Array:
    """Return the allowed action with the largest value, the first on ties: float32[A], bool[A] -> int32[]."""
    chex.assert_rank([q_values, action_mask], 1)
    return jnp.argmax(jnp.where(action_mask, q_values, -jnp.inf)).astype(jnp.int32)


def random_action(uniform: Array, action_mask: Array) -> Array:
    """Return an allowed action from a uniform number in [0, 1): float32[], bool[A] -> int32[]."""
    chex.assert_rank([uniform, action_mask], [0, 1])
    allowed_so_far = jnp.cumsum(action_mask)
    rank = jnp.floor(uniform * allowed_so_far[-1].astype(jnp.float32)).astype(allowed_so_far.dtype)
    return jnp.argmax(allowed_so_far > rank).astype(jnp.int32)


def epsilon_greedy_action(uniform: Array, q_values: Array, action_mask: Array, epsilon: Array) -> Array:
    """Return a random allowed action with probability epsilon, else the greedy one.

    One random number suffices: given `uniform < epsilon`, `uniform / epsilon` is uniform.
    float32[], float32[A], bool[A], float32[] -> int32[].
    """
    chex.assert_rank([uniform, epsilon], 0)
    # The clip guards against rounding in the division; with epsilon 0 the result is unused.
    rescaled = jnp.clip(uniform / jnp.maximum(epsilon, 1e-8), 0.0, 1.0 - 1e-6)
    explored = random_action(rescaled, action_mask)
    return jnp.where(uniform < epsilon, explored, greedy_action(q_values, action_mask))


def free_exploration(num_envs: int, num_agents: int) -> Exploration:
    """Return the exploration state at the start of an episode: no agent is repeating an action."""
    zeros = jnp.zeros((num_envs, num_agents), jnp.int32)
    return Exploration(action=zeros, remaining=jnp.copy(zeros))


def extended_action(
    uniforms: Array,
    exploration: Exploration,
    q_values: Array,
    action_mask: Array,
    epsilon: Array,
    longest: int,
) -> tuple[Exploration, Array]:
    """Choose one agent's temporally extended epsilon-greedy action (Dabney et al. 2021, algorithm 1).

    A random action is repeated for n steps in total, n from 1 to `longest` with probability proportional to n^-2, so
    that the agent covers distance; single random steps would undo each other. `longest` 1 is plain epsilon-greedy. A
    repeated action is dropped once the mask forbids it.

    Args:
        uniforms: float32[2] in [0, 1): for the action and for n.
        exploration: the action being repeated, int32[] each.
        q_values: float32[A].
        action_mask: bool[A].
        epsilon: float32[], probability that a free agent starts a random action.
        longest: largest n.

    Returns:
        The new exploration state, and the action, int32[].
    """
    chex.assert_shape(uniforms, (2,))
    fresh = epsilon_greedy_action(uniforms[0], q_values, action_mask, epsilon)
    drawn = jnp.where(uniforms[0] < epsilon, repeat_length(uniforms[1], longest), 1)
    repeats = (exploration.remaining > 0) & action_mask[exploration.action]
    action = jnp.where(repeats, exploration.action, fresh)
    remaining = jnp.where(repeats, exploration.remaining, drawn) - 1
    return Exploration(action=action, remaining=remaining), action


def repeat_length(uniform: Array, longest: int) -> Array:
    """Draw n from 1 to `longest` with probability proportional to n^-2, from a uniform number. int32[]."""
    weights = 1.0 / np.arange(1, longest + 1) ** 2
    cumulative = np.cumsum(weights[:-1]) / np.sum(weights)
    return 1 + jnp.sum(uniform >= cumulative.astype(np.float32), dtype=jnp.int32)


def choose_actions(
    key: Array, exploration: Exploration, q_values: Array, action_mask: Array, epsilon: Array, longest: int
) -> tuple[Exploration, Array]:
    """Choose temporally extended epsilon-greedy actions, independently per agent.

    Args:
        key: key[].
        exploration: the actions being repeated, int32[E, N] each.
        q_values: float32[N, E, A], agent-major as the networks return them.
        action_mask: bool[E, N, A].
        epsilon: float32[E, N], exploration rates.
        longest: maximum steps of a random action.

    Returns:
        The new exploration state, and actions int32[E, N].
    """
    num_envs, num_agents, _ = action_mask.shape
    uniforms = jax.random.uniform(key, (num_envs, num_agents, 2))
    over_agents = jax.vmap(extended_action, in_axes=(0, 0, 0, 0, 0, None))
    over_envs = jax.vmap(over_agents, in_axes=(0, 0, 1, 0, 0, None))
    return over_envs(uniforms, exploration, q_values, action_mask, epsilon, longest)
