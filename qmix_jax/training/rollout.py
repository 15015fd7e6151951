"""One step of all environments, running totals of their episodes, and a log row for each episode that ends."""

from typing import Any

import jax
import jax.numpy as jnp

from env_jax.types import Environment, TimeStep
from qmix_jax.learning.selection import select
from qmix_jax.types import Array, EpisodeLog, EpisodeMetrics, EpisodeTotals, UpdateMetrics


def step_environments(
    environment: Environment, key: Array, env_state: Any, actions: Array
) -> tuple[Any, TimeStep, TimeStep, Any]:
    """Step every environment and reset those whose episode ended.

    Args:
        environment: unbatched environment.
        key: key[], used once.
        env_state: environment states batched over E.
        actions: int32[E, N].

    Returns:
        The next states; the next time steps (after a reset where the episode ended); the time steps right after the
        actions, with their rewards and flags; and the states right after the actions.
    """
    num_envs = actions.shape[0]
    step_key, reset_key = jax.random.split(key)
    stepped_state, stepped = jax.vmap(environment.step)(jax.random.split(step_key, num_envs), env_state, actions)
    reset_state, reset = jax.vmap(environment.reset)(jax.random.split(reset_key, num_envs))
    finished = stepped.terminated | stepped.truncated

    env_state, time_step = select(finished, (reset_state, reset), (stepped_state, stepped))
    return env_state, time_step, stepped, stepped_state


def init_episodes(num_envs: int) -> EpisodeTotals:
    """Return the totals of `num_envs` episodes before their first step."""
    return EpisodeTotals(
        length=jnp.zeros(num_envs, jnp.int32),
        discounted_return=jnp.zeros(num_envs, jnp.float32),
        update_sums=jnp.zeros((num_envs, len(EpisodeMetrics._fields)), jnp.float32),
        updates=jnp.zeros(num_envs, jnp.int32),
    )


def empty_log(num_envs: int, epsilon: Array) -> EpisodeLog:
    """Return the log of a vector step beyond the end of the run."""
    nothing, none = jnp.zeros(num_envs, jnp.float32), jnp.zeros(num_envs, jnp.int32)
    per_step = jnp.zeros((), jnp.float32)
    return EpisodeLog(
        finished=jnp.zeros(num_envs, jnp.bool_),
        episode_return=nothing,
        episode_length=none,
        epsilon=epsilon,
        updates=EpisodeMetrics(*[nothing] * len(EpisodeMetrics._fields)),
        num_updates=none,
        step_updates=UpdateMetrics(*[per_step] * len(UpdateMetrics._fields)),
        num_step_updates=jnp.zeros((), jnp.int32),
    )


def advance_episodes(
    episodes: EpisodeTotals,
    rewards: Array,
    finished: Array,
    update_sums: UpdateMetrics,
    updates: Array,
    epsilon: Array,
    gamma: float,
) -> tuple[EpisodeTotals, EpisodeLog]:
    """Add one vector step to the totals; log finished episodes and reset their totals.

    Args:
        episodes: totals before the step.
        rewards: float32[E, N] of the step.
        finished: bool[E], whether the step ended the episode.
        update_sums: float32[] each, sums over the step's gradient updates.
        updates: int32[], number of those updates.
        epsilon: float32[], exploration rate of the step, mean over environments.
        gamma: discount of the logged return.
    """
    discount = gamma ** episodes.length.astype(jnp.float32)
    kept = jnp.stack([getattr(update_sums, name) for name in EpisodeMetrics._fields])
    totals = EpisodeTotals(
        length=episodes.length + 1,
        discounted_return=episodes.discounted_return + discount * jnp.sum(rewards, axis=-1),
        update_sums=episodes.update_sums + kept[None, :],
        updates=episodes.updates + updates,
    )
    # Means are 0, not NaN, for episodes without updates: JAX_DEBUG_NANS would report a NaN as an error.
    means = totals.update_sums / _divisor(totals.updates)[:, None]
    log = EpisodeLog(
        finished=finished,
        episode_return=totals.discounted_return,
        episode_length=totals.length,
        epsilon=epsilon,
        updates=EpisodeMetrics(*means.T),
        num_updates=totals.updates,
        step_updates=jax.tree.map(lambda total: total / _divisor(updates), update_sums),
        num_step_updates=updates,
    )
    return select(finished, init_episodes(finished.shape[0]), totals), log


def _divisor(count: Array) -> Array:
    """Return `count`, or 1 where it is 0."""
    return jnp.maximum(count, 1).astype(jnp.float32)
