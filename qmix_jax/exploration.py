"""Epsilon-greedy exploration with action masks."""

import chex
import jax.numpy as jnp

from qmix_jax.types import Array


def linear_epsilon(env_steps: Array, start: float, end: float, decay_steps: int) -> Array:
    """Exploration rate after int32[] `env_steps`: linear from `start` to `end` over `decay_steps`. float32[]."""
    fraction = jnp.minimum(env_steps.astype(jnp.float32) / decay_steps, 1.0)
    return start + fraction * (end - start)


def greedy_action(q_values: Array, action_mask: Array) -> Array:
    """Allowed action of largest value, the first of equals: float32[A], bool[A] -> int32[]."""
    chex.assert_rank([q_values, action_mask], 1)
    return jnp.argmax(jnp.where(action_mask, q_values, -jnp.inf)).astype(jnp.int32)


def random_action(uniform: Array, action_mask: Array) -> Array:
    """Allowed action by a uniform number in [0, 1): float32[], bool[A] -> int32[]."""
    chex.assert_rank([uniform, action_mask], [0, 1])
    allowed_so_far = jnp.cumsum(action_mask)
    rank = jnp.floor(uniform * allowed_so_far[-1].astype(jnp.float32)).astype(allowed_so_far.dtype)
    return jnp.argmax(allowed_so_far > rank).astype(jnp.int32)


def epsilon_greedy_action(uniform: Array, q_values: Array, action_mask: Array, epsilon: Array) -> Array:
    """With probability epsilon a random allowed action, else the greedy one.

    One number decides both: given `uniform < epsilon`, `uniform / epsilon` is uniform again.
    float32[], float32[A], bool[A], float32[] -> int32[].
    """
    chex.assert_rank([uniform, epsilon], 0)
    # The clip guards the division's rounding; with epsilon 0 the branch is never taken.
    rescaled = jnp.clip(uniform / jnp.maximum(epsilon, 1e-8), 0.0, 1.0 - 1e-6)
    explored = random_action(rescaled, action_mask)
    return jnp.where(uniform < epsilon, explored, greedy_action(q_values, action_mask))
