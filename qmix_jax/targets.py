"""Temporal-difference targets of one sequence; callers vmap."""

import chex
import jax.numpy as jnp

from qmix_jax.types import Array


def n_step_return(r_t: Array, done_t: Array, gamma: float) -> tuple[Array, Array]:
    """Discounted rewards of the next n steps, and the discount of the value that follows them.

    With c_k = prod_{j<k} (1 - done_j):
    return = sum_{k<n} gamma^k c_k r_k, bootstrap discount = gamma^n c_n (Sutton & Barto 2018, eq. 7.1).
    An end inside the window cuts off the rewards after it and the bootstrap: they belong to another episode.

    Args:
        r_t: float32[n], rewards of steps 0..n-1.
        done_t: bool[n], whether the episode ended (terminated or truncated) with that step.
        gamma: discount per step.

    Returns:
        float32[] return, float32[] bootstrap discount.
    """
    chex.assert_rank([r_t, done_t], 1)
    chex.assert_type([r_t, done_t], [jnp.float32, jnp.bool_])
    chex.assert_equal_shape([r_t, done_t])
    discount_after = jnp.cumprod(gamma * (1.0 - done_t.astype(jnp.float32)))
    discount_before = jnp.concatenate([jnp.ones(1), discount_after[:-1]])
    return jnp.sum(discount_before * r_t), discount_after[-1]


def td_target(r_t: Array, done_t: Array, bootstrap_value: Array, gamma: float) -> Array:
    """n-step target: rewards of the window plus the discounted value of the state n steps on.

    y = R_n + gamma^n c_n q_tot' (Rashid et al. 2018, eq. 6, for n = 1).
    float32[n], bool[n], float32[] -> float32[].
    """
    chex.assert_rank(bootstrap_value, 0)
    rewards, discount = n_step_return(r_t, done_t, gamma)
    return rewards + discount * bootstrap_value
