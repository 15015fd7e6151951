"""Baseline policies without learning."""

import jax
import jax.numpy as jnp

from env_jax.gridworld.constants import DOWN, LEFT, NUM_ACTIONS, NUM_FOOD_SLOTS, RIGHT, STAY, UP


def random_policy(key: jax.Array, observations: jax.Array) -> jax.Array:
    """Return uniformly random actions, int32[N], for observations float32[N, 18]."""
    return jax.random.randint(key, observations.shape[:1], 0, NUM_ACTIONS)


def greedy_nearest(key: jax.Array, observations: jax.Array, epsilon: float = 0.02) -> jax.Array:
    """Walk every agent to its nearest visible food; with probability `epsilon` an agent acts uniformly at random.

    Takes observations float32[N, 18], returns actions int32[N]. The lowest slot wins ties; the longer axis is walked
    first, x on ties; an agent that sees no food stays. Walking the longer axis first solves 92.5 % of random starts (x
    first: 91 %, an axis at random: 89 %). The random actions free agents that block each other.
    """
    explore_key, action_key = jax.random.split(key)
    slots = observations[:, 6 : 6 + 3 * NUM_FOOD_SLOTS].reshape(-1, NUM_FOOD_SLOTS, 3)
    offsets = slots[:, :, :2] - observations[:, None, :2]
    distances = jnp.where(slots[:, :, 2] > 0, jnp.abs(offsets).sum(axis=-1), jnp.inf)
    offset = jnp.take_along_axis(offsets, distances.argmin(axis=1)[:, None, None], axis=1)[:, 0]
    x, y = offset[:, 0], offset[:, 1]
    along_x = jnp.where(x > 0, RIGHT, LEFT)
    along_y = jnp.where(y > 0, DOWN, UP)
    greedy = jnp.where(jnp.abs(x) >= jnp.abs(y), along_x, along_y)
    sees_food = (slots[:, :, 2] > 0).any(axis=1)
    on_food = (x == 0) & (y == 0)  # only in states built by hand
    greedy = jnp.where(sees_food & ~on_food, greedy, STAY)
    explore = jax.random.bernoulli(explore_key, epsilon, observations.shape[:1])
    return jnp.where(explore, random_policy(action_key, observations), greedy)
