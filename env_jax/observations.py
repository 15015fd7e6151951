"""What the agents and the trainer see, raw and encoded for a network."""

import jax
import jax.numpy as jnp
import numpy as np

from env_jax.constants import GRID_SIZE, NUM_AGENTS, NUM_FOOD_SLOTS, NUM_FOODS, OBSERVATION_SIZE

_NEIGHBOUR = (1, 0, 0, 1)  # the one agent that agent i sees, at any distance


def _food_slot_numbers() -> np.ndarray:
    """Table int32[m, agent, slot]: which of the m remaining foods, renumbered 0..m-1, a slot shows; -1 for none."""
    table = np.full((NUM_FOODS + 1, NUM_AGENTS, NUM_FOOD_SLOTS), -1, np.int32)
    for remaining in range(1, NUM_FOODS + 1):
        for agent in range(NUM_AGENTS):
            used: list[int] = []
            for slot in range(min(NUM_FOOD_SLOTS, remaining)):
                number = (agent + slot) % NUM_FOODS % remaining
                while number in used:
                    number = (number + 1) % remaining
                used.append(number)
                table[remaining, agent, slot] = number
    return table


_FOOD_SLOT_NUMBERS = _food_slot_numbers()


def observe(agent_positions: jax.Array, food_positions: jax.Array, food_present: jax.Array) -> jax.Array:
    """Return the agents' views, float32[4, 18].

    Row i: self (x, y, 1), neighbour (x, y, 1), three food slots of (x, y, 1) or zeros, one slot that is always zeros.
    Takes agent_positions int32[4, 2], food_positions int32[4, 2], food_present bool[4].
    """
    on = jnp.ones((NUM_AGENTS, 1), jnp.int32)
    neighbours = jnp.stack([agent_positions[j] for j in _NEIGHBOUR])
    slots = _food_slots(food_positions, food_present)
    off = jnp.zeros((NUM_AGENTS, 3), jnp.int32)
    return jnp.concatenate([agent_positions, on, neighbours, on, slots.reshape(NUM_AGENTS, -1), off], axis=1).astype(
        jnp.float32
    )


def _food_slots(food_positions: jax.Array, food_present: jax.Array) -> jax.Array:
    """Return int32[4, 3, 3]: agent, slot, (x, y, 1) or zeros."""
    number = jnp.cumsum(food_present, dtype=jnp.int32) - 1  # of each remaining food; the list closes up as foods go
    remaining = food_present.sum(dtype=jnp.int32)
    slot_number = jnp.full((NUM_AGENTS, NUM_FOOD_SLOTS), -1)
    for m in range(1, NUM_FOODS + 1):
        slot_number = jnp.where(remaining == m, _FOOD_SLOT_NUMBERS[m], slot_number)
    food = jnp.concatenate([food_positions, jnp.ones((NUM_FOODS, 1), jnp.int32)], axis=1)
    shown = (slot_number[:, :, None] == number[None, None]) & food_present[None, None]
    return jnp.where(shown[..., None], food[None, None], 0).sum(axis=2)


def state_from_observations(observations: jax.Array) -> jax.Array:
    """Return the global state, float32[72]: the four observations, float32[4, 18], one after another."""
    return observations.reshape(NUM_AGENTS * OBSERVATION_SIZE)


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
