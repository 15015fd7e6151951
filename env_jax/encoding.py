"""Observations and global state as network inputs: relative positions, scaled to order one."""

import jax
import jax.numpy as jnp

from env_jax.constants import GRID_SIZE, NUM_AGENTS, NUM_FOOD_SLOTS, OBSERVATION_SIZE


def encode_observations(observations: jax.Array) -> jax.Array:
    """Turn raw views, float32[4, 18], into network inputs of order one, float32[4, 13].

    Own cell scaled to -1..1 (2); neighbour relative to self in grid lengths (2); then for each food slot its position
    relative to self in grid lengths, zero where the slot is empty, and whether it is filled (3 x 3).
    The columns that never change (self and neighbour flags, last slot) carry nothing and are dropped.
    """
    far = GRID_SIZE - 1
    here = observations[:, 0:2]
    neighbour = observations[:, 3:5]
    slots = observations[:, 6 : 6 + 3 * NUM_FOOD_SLOTS].reshape(-1, NUM_FOOD_SLOTS, 3)
    filled = slots[:, :, 2:]
    offsets = (slots[:, :, :2] - here[:, None]) / far * filled
    foods = jnp.concatenate([offsets, filled], axis=-1).reshape(-1, 3 * NUM_FOOD_SLOTS)
    return jnp.concatenate([here / far * 2 - 1, (neighbour - here) / far, foods], axis=-1)


def encode_state(state: jax.Array) -> jax.Array:
    """Turn the global state, float32[72], into network inputs, float32[52]: the four encoded views in a row."""
    return encode_observations(state.reshape(NUM_AGENTS, OBSERVATION_SIZE)).reshape(-1)
