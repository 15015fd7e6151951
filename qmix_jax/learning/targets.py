"""Temporal-difference targets: of one sequence, for callers to vmap, and of a batch."""

import chex
import jax
import jax.numpy as jnp

from qmix_jax.config import Config
from qmix_jax.learning.batch import Batch
from qmix_jax.types import Array

_UNROLLED = 16  # steps that become one kernel; a loop over them has several each


def n_step_return(r_t: Array, done_t: Array, gamma: float, cut_t: Array | None = None) -> tuple[Array, Array]:
    """Return the discounted rewards of the next n steps and the discount of the bootstrap value.

    With c_k = prod_{j<k} (1 - done_j):
    return = sum_{k<n} gamma^k c_k r_k, bootstrap discount = gamma^n c_n (Sutton & Barto 2018, eq. 7.1).
    If the episode ends inside the window, later rewards and the bootstrap are masked. If it ends at step k with a
    truncation to bootstrap from, the discount is gamma^(k+1), for the value of the episode's final step.

    Args:
        r_t: float32[n], rewards of steps 0..n-1.
        done_t: bool[n], whether the episode ended (terminated or truncated) with that step.
        gamma: discount per step.
        cut_t: bool[n], which of these are truncations to bootstrap from; None for none.

    Returns:
        float32[] return, float32[] bootstrap discount.
    """
    chex.assert_rank([r_t, done_t], 1)
    chex.assert_type([r_t, done_t], [jnp.float32, jnp.bool_])
    chex.assert_equal_shape([r_t, done_t])
    result, at_cut, discount = jnp.zeros(()), jnp.zeros(()), jnp.ones(())
    for step in range(r_t.shape[0]):  # a few products, which XLA fuses; a cumulative product is a kernel of its own
        result = result + discount * r_t[step]
        if cut_t is not None:  # only the first end contributes
            at_cut = at_cut + jnp.where(cut_t[step], gamma * discount, 0.0)
        discount = discount * gamma * (1.0 - done_t[step].astype(jnp.float32))
    return result, discount + at_cut


def n_step_targets(r_t: Array, done_t: Array, v_t: Array, n: int, gamma: float, cut_t: Array | None = None) -> Array:
    """Return the n-step targets of K successive steps.

    y_t = R_t:t+n + gamma^n c_n v_t (Rashid et al. 2018, eq. 6, for n = 1).

    Args:
        r_t: float32[K + n - 1], rewards of all windows.
        done_t: bool[K + n - 1].
        v_t: float32[K], value of the state n steps after each step, or of the final step if a truncation comes first.
        n: reward steps per window.
        gamma: discount per step.
        cut_t: bool[K + n - 1], as for `n_step_return`.

    Returns:
        float32[K].
    """
    chex.assert_rank([r_t, done_t, v_t], 1)
    chex.assert_equal(r_t.shape[0], v_t.shape[0] + n - 1)
    starts = jnp.arange(v_t.shape[0])[:, None] + jnp.arange(n)[None, :]
    cuts = None if cut_t is None else cut_t[starts]
    returns, discounts = jax.vmap(n_step_return, in_axes=(0, 0, None, 0))(r_t[starts], done_t[starts], gamma, cuts)
    return returns + discounts * v_t


def lambda_returns(
    r_t: Array, done_t: Array, v_t: Array, gamma: float, lambda_: float, cut_t: Array | None = None
) -> Array:
    """Return the truncated lambda returns of K successive steps.

    G_t = r_t + gamma (1 - done_t) ((1 - lambda) v_t + lambda G_t+1), and G_K = v_K-1, the window's last value
    (Sutton & Barto 2018, eq. 12.18 and 12.23, truncated). With greedy values v_t this is Peng's Q(lambda) (Peng &
    Williams 1996), with values of the actions taken it is TD(lambda). At a truncation to bootstrap from,
    G_t = r_t + gamma v_t, where v_t is the value of the episode's final step.

    Args:
        r_t: float32[K], rewards.
        done_t: bool[K], whether the episode ended with that step; later steps are masked.
        v_t: float32[K], value of the state after each step.
        gamma: discount per step.
        lambda_: 0 gives 1-step targets, 1 the longest ones.
        cut_t: bool[K], which of these are truncations to bootstrap from; None for none.

    Returns:
        float32[K].
    """
    chex.assert_rank([r_t, done_t, v_t], 1)
    chex.assert_equal_shape([r_t, done_t, v_t])

    def back(following: Array, step: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        reward, discount, value = step
        target = reward + discount * ((1.0 - lambda_) * value + lambda_ * following)
        return target, target

    discounts = gamma * (1.0 - done_t.astype(jnp.float32))
    if cut_t is not None:  # `discounts` are 0 there, so only the final step's value is added
        r_t = r_t + jnp.where(cut_t, gamma * v_t, 0.0)
    _, targets = jax.lax.scan(back, v_t[-1], (r_t, discounts, v_t), reverse=True, unroll=min(_UNROLLED, v_t.shape[0]))
    return targets


@jax.named_scope("targets")
def batch_targets(config: Config, rewards: Array, batch: Batch, bootstrap_values: Array) -> Array:
    """Return the targets float32[B, K, V] of a batch's learned steps.

    Args:
        config: selects the target.
        rewards: float32[B, S, V], at the steps that targets read.
        batch: what was sampled.
        bootstrap_values: float32[B, K, V], at the final step if a truncation cut the window.
    """
    done = batch.done[:, config.learned_steps.start : -1]
    if config.target == "n_step":

        def target(r_t: Array, done_t: Array, v_t: Array, cut_t: Array | None) -> Array:
            return n_step_targets(r_t, done_t, v_t, config.n_step, config.gamma, cut_t)

    else:

        def target(r_t: Array, done_t: Array, v_t: Array, cut_t: Array | None) -> Array:
            return lambda_returns(r_t, done_t, v_t, config.gamma, config.td_lambda, cut_t)

    over_values = jax.vmap(target, in_axes=(1, None, 1, None), out_axes=1)
    return jax.vmap(over_values)(rewards, done, bootstrap_values, batch.cut)
