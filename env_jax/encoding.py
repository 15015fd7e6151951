"""Observations and global state as network inputs: where everything lies as seen from the agent, of order one.

A value function of this task falls by a constant factor with every step of distance, and the best action is a
direction. Inputs that say so (nearness, signs) are worth more to a small network than coordinates: it need not
build powers and comparisons out of ReLUs.
"""

import jax
import jax.numpy as jnp

from env_jax.constants import GRID_SIZE, NUM_AGENTS, NUM_FOOD_SLOTS, OBSERVATION_SIZE

NEARNESS_DECAY = 0.95  # per step of distance; any figure that still tells 1 step from 2, and 30 from 40, would do


def encode_observations(observations: jax.Array) -> jax.Array:
    """Turn raw views, float32[4, 18], into network inputs within -1..1, float32[4, 30].

    Own cell (2 numbers), then 7 numbers for each of the neighbour and the three food slots, all 0 where a slot is
    empty: whether it is filled; offset from self in grid lengths (2); direction, the offset's signs (2); nearness,
    `NEARNESS_DECAY ** distance`; whether it is 1 step away. The slot that is always empty is dropped.
    """
    far = GRID_SIZE - 1
    here = observations[:, 0:2]
    others = observations[:, 3 : 6 + 3 * NUM_FOOD_SLOTS].reshape(-1, 1 + NUM_FOOD_SLOTS, 3)
    filled = others[:, :, 2:]
    offset = (others[:, :, :2] - here[:, None]) * filled
    distance = jnp.abs(offset).sum(axis=-1, keepdims=True)
    nearness = NEARNESS_DECAY**distance * filled
    adjacent = (distance == 1).astype(jnp.float32)
    features = jnp.concatenate([filled, offset / far, jnp.sign(offset), nearness, adjacent], axis=-1)
    return jnp.concatenate([here / far * 2 - 1, features.reshape(features.shape[0], -1)], axis=-1)


def encode_state(state: jax.Array) -> jax.Array:
    """Turn the global state, float32[72], into network inputs, float32[120]: the four encoded views in a row."""
    return encode_observations(state.reshape(NUM_AGENTS, OBSERVATION_SIZE)).reshape(-1)
