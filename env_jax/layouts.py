"""Where an episode starts: 4 agents, then 4 foods, on 8 different cells."""

import jax
import jax.numpy as jnp
import numpy as np

from env_jax.constants import GRID_SIZE, NUM_AGENTS, NUM_CELLS, NUM_FOODS

NUM_OBJECTS = NUM_AGENTS + NUM_FOODS


def random_start(key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Draw agents, then foods, each uniformly on a cell that nothing occupies yet.

    Returns (agent_positions int32[4, 2], food_positions int32[4, 2]), cells as (x, y). All ordered choices of 8 different
    cells are equally likely, up to the 2e-7 relative bias of reducing 32 random bits modulo at most 625.
    """
    bits = jax.random.bits(key, (NUM_OBJECTS,), jnp.uint32)
    # Object k takes the r-th free cell, r uniform below 625 - k. Walking past the occupied cells in ascending order
    # turns a rank among free cells into a cell: no rejection, no permutation of the grid, only elementwise arithmetic.
    occupied: list[jax.Array] = []  # ascending
    cells = []
    for k in range(NUM_OBJECTS):
        cell = (bits[k] % jnp.uint32(NUM_CELLS - k)).astype(jnp.int32)
        for taken in occupied:
            cell = cell + (cell >= taken)
        cells.append(cell)
        occupied = _insert_ascending(occupied, cell)
    cell = jnp.stack(cells)
    positions = jnp.stack([cell % GRID_SIZE, cell // GRID_SIZE], axis=-1)
    return positions[:NUM_AGENTS], positions[NUM_AGENTS:]


def fixed_start(layout_seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw the reference's start for `layout_seed`, bit for bit, on the host.

    Returns (agent_positions int32[4, 2], food_positions int32[4, 2]), cells as (x, y).
    """
    generator = np.random.default_rng(layout_seed)
    cells: list[tuple[int, int]] = []
    while len(cells) < NUM_OBJECTS:
        # x before y, one scalar draw each: the order and form of the draws are part of the layout's definition.
        x = int(generator.integers(0, GRID_SIZE))
        y = int(generator.integers(0, GRID_SIZE))
        if (x, y) not in cells:
            cells.append((x, y))
    positions = np.array(cells, dtype=np.int32)
    return positions[:NUM_AGENTS], positions[NUM_AGENTS:]


def _insert_ascending(ascending: list[jax.Array], value: jax.Array) -> list[jax.Array]:
    result = []
    for element in ascending:
        result.append(jnp.minimum(element, value))
        value = jnp.maximum(element, value)
    return [*result, value]
