"""Observations of the agents, and the global state for centralised training."""

import jax
import jax.numpy as jnp
import numpy as np

from env_jax.gridworld.constants import NUM_AGENTS, NUM_FOOD_SLOTS, NUM_FOODS, OBSERVATION_SIZE

NEIGHBOUR = (1, 0, 0, 1)  # the agent that agent i sees, at any distance
# What an observation shows beside the agent itself: the thing, where its x and y begin, and the flag that it is there.
SHOWN: tuple[tuple[str, int, int], ...] = (
    ("agent", 3, 5),
    *(("food", 6 + 3 * slot, 8 + 3 * slot) for slot in range(NUM_FOOD_SLOTS)),
)

# Each observed number is one field of one word: the four x of the agents make a word, their four y another, and so on.
# "The x of the third food" is then a shift, and all 72 numbers come from one vectorised elementwise pass, seven times
# faster on a CPU than selecting foods with gathers or masks and concatenating.
_FIELD_BITS = 5  # holds a coordinate 0..24
_FIELD = (1 << _FIELD_BITS) - 1
_FIELD_SHIFTS = np.arange(NUM_AGENTS, dtype=np.int32) * _FIELD_BITS
_AGENT_X, _AGENT_Y, _FOOD_X, _FOOD_Y, _FOOD_ON, _ONE = range(6)  # the words
_EMPTY = 4  # a field that is 0 in every word


def observe(agent_positions: jax.Array, food_positions: jax.Array, food_present: jax.Array) -> jax.Array:
    """Return the agents' views, float32[4, 18].

    Row i: self (x, y, 1), neighbour (x, y, 1), three food slots of (x, y, 1) or zeros, one slot that is always zeros.
    Takes agent_positions int32[4, 2], food_positions int32[4, 2], food_present bool[4].
    """
    present = food_present.astype(jnp.int32)
    remaining = present.sum()
    # Remaining foods are renumbered: the list closes up as foods go.
    food_shifts = (jnp.cumsum(present) - 1) * _FIELD_BITS
    words = {
        _AGENT_X: (agent_positions[:, 0] << _FIELD_SHIFTS).sum(),
        _AGENT_Y: (agent_positions[:, 1] << _FIELD_SHIFTS).sum(),
        _FOOD_X: jnp.where(food_present, food_positions[:, 0] << food_shifts, 0).sum(),
        _FOOD_Y: jnp.where(food_present, food_positions[:, 1] << food_shifts, 0).sum(),
        _FOOD_ON: jnp.where(food_present, 1 << food_shifts, 0).sum(),
    }
    word = jnp.ones((), jnp.int32)
    for source, value in words.items():
        word = jnp.where(source == _SOURCE, value, word)
    shift = (_SHIFT >> (remaining * _FIELD_BITS)) & _FIELD
    numbers = ((word >> shift) & _FIELD).astype(jnp.float32)
    return numbers.reshape(NUM_AGENTS, OBSERVATION_SIZE)


def food_in_slot(remaining: int, agent: int, slot: int) -> int | None:
    """Return which of the `remaining` foods, numbered 0.., the agent sees in this slot; None for none."""
    used: list[int] = []
    for k in range(min(slot + 1, remaining)):
        number = (agent + k) % NUM_FOODS % remaining
        while number in used:
            number = (number + 1) % remaining
        used.append(number)
    return used[slot] if slot < remaining else None


def _layout() -> tuple[np.ndarray, np.ndarray]:
    """Return the word and the shift of each observed number, both int32[72].

    The shift depends on how many foods remain; the shifts for 0..4 foods are fields of one number.
    """
    source = np.empty((NUM_AGENTS, OBSERVATION_SIZE), np.int32)
    shift = np.zeros((NUM_AGENTS, OBSERVATION_SIZE), np.int32)
    for agent in range(NUM_AGENTS):
        source[agent] = [_AGENT_X, _AGENT_Y, _ONE] * 2 + [_FOOD_X, _FOOD_Y, _FOOD_ON] * NUM_FOOD_SLOTS + [_ONE] * 3
        for remaining in range(NUM_FOODS + 1):
            foods = [food_in_slot(remaining, agent, slot) for slot in range(NUM_FOOD_SLOTS)]
            foods = [_EMPTY if food is None else food for food in foods]
            field = [agent, agent, 0, NEIGHBOUR[agent], NEIGHBOUR[agent], 0, *np.repeat([*foods, _EMPTY], 3)]
            shift[agent] |= (np.array(field, np.int32) * _FIELD_BITS) << (remaining * _FIELD_BITS)
    return source.reshape(-1), shift.reshape(-1)  # flat, because long rows vectorise


_SOURCE, _SHIFT = _layout()


def state_from_observations(observations: jax.Array) -> jax.Array:
    """Return the global state, float32[72]: the four observations, float32[4, 18], one after another."""
    return observations.reshape(NUM_AGENTS * OBSERVATION_SIZE)
