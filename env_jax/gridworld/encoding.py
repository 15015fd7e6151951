"""Observations and global state as network inputs of order one: positions relative to the agent.

The value of a food falls by a constant factor with every step of distance, and the best action is a direction. Inputs
that express this (nearness, signs) help a small network more than coordinates: it need not build powers and comparisons
out of ReLUs.
"""

import jax
import jax.numpy as jnp

from env_jax.gridworld.constants import GRID_SIZE, NUM_AGENTS, NUM_FOOD_SLOTS, OBSERVATION_SIZE

NEARNESS_DECAY = 0.95  # per step of distance; must separate 1 step from 2 as well as 30 from 40


def encode_observations(observations: jax.Array) -> jax.Array:
    """Turn raw views, float32[4, 18], into network inputs within -1..1, float32[4, 34].

    Own cell (2 numbers). The neighbour (4): offset from self in grid lengths (2), nearness `NEARNESS_DECAY **
    distance`, whether it is 1 step away. Each of the three food slots (7), all 0 where it is empty: the same 4
    after whether it is filled, and the offset's signs (2), the direction to walk. The nearest food's 7 are repeated
    at the end, in a place that does not change when slots move up. Constant inputs are dropped.
    """
    far = GRID_SIZE - 1
    here = observations[:, 0:2]
    neighbour = observations[:, 3:5] - here
    slots = observations[:, 6 : 6 + 3 * NUM_FOOD_SLOTS].reshape(-1, NUM_FOOD_SLOTS, 3)
    filled = slots[:, :, 2:]
    foods = (slots[:, :, :2] - here[:, None]) * filled
    food_nearness, food_adjacent = _closeness(foods)
    food_features = jnp.concatenate(
        [filled, foods / far, food_nearness * filled, food_adjacent, jnp.sign(foods)], axis=-1
    )
    nearest = jnp.argmax(food_nearness * filled, axis=1, keepdims=True)
    is_nearest = nearest == jnp.arange(NUM_FOOD_SLOTS)[None, :, None]  # a masked sum: cheaper than a gather
    return jnp.concatenate(
        [
            here / far * 2 - 1,
            neighbour / far,
            *_closeness(neighbour),
            food_features.reshape(food_features.shape[0], -1),
            jnp.sum(jnp.where(is_nearest, food_features, 0.0), axis=1),
        ],
        axis=-1,
    )


def encode_state(state: jax.Array) -> jax.Array:
    """Turn the global state, float32[72], into network inputs, float32[136]: the four encoded views in a row."""
    return encode_observations(state.reshape(NUM_AGENTS, OBSERVATION_SIZE)).reshape(-1)


def _closeness(offset: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Nearness and adjacency of things at float32[..., 2] offsets in cells: two float32[..., 1]."""
    distance = jnp.abs(offset).sum(axis=-1, keepdims=True)
    return NEARNESS_DECAY**distance, (distance == 1).astype(jnp.float32)
