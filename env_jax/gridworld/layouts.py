"""Initial states: 4 agents, then 4 foods, on 8 different cells."""

import jax
import jax.numpy as jnp
import numpy as np

from env_jax.gridworld.constants import GRID_SIZE, NUM_AGENTS, NUM_CELLS, NUM_FOODS

NUM_OBJECTS = NUM_AGENTS + NUM_FOODS


def random_start(key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Draw agents, then foods, each uniformly from the free cells.

    Returns (agent_positions int32[4, 2], food_positions int32[4, 2]), cells as (x, y). All ordered choices of 8
    different cells are equally likely, up to the 2e-7 relative bias of a 32-bit word modulo at most 625.
    """
    bits = jax.random.bits(key, (NUM_OBJECTS,), jnp.uint32)
    ranks = [(bits[k] % np.uint32(NUM_CELLS - k)).astype(jnp.int32) for k in range(NUM_OBJECTS)]
    cell = jnp.stack(cells_from_ranks(ranks))
    positions = jnp.stack([cell % GRID_SIZE, cell // GRID_SIZE], axis=1)
    return positions[:NUM_AGENTS], positions[NUM_AGENTS:]


def cells_from_ranks(ranks: list[jax.Array]) -> list[jax.Array]:
    """Place objects one after another: object k takes the ranks[k]-th, from 0, of the cells left free by 0..k-1.

    Ranks and cells are int32[]. No rejection, sorting or permutation of the grid: a few comparisons per object.
    """
    cells = []
    for k, cell in enumerate(ranks):
        # Put the earlier objects back, last one first: each pushes the cells from its own rank on one cell further.
        for earlier in reversed(ranks[:k]):
            cell = jnp.where(cell >= earlier, cell + 1, cell)
        cells.append(cell)
    return cells


def fixed_start(layout_seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw the reference's start for `layout_seed`, bit for bit, on the host.

    Returns (agent_positions int32[4, 2], food_positions int32[4, 2]), cells as (x, y).
    """
    positions = np.array(draw_start(np.random.default_rng(layout_seed)), dtype=np.int32)
    return positions[:NUM_AGENTS], positions[NUM_AGENTS:]


def draw_start(generator: np.random.Generator) -> list[tuple[int, int]]:
    """Draw 8 different cells (x, y) as the reference does, 4 for agents, then 4 for foods, on the host."""
    cells: list[tuple[int, int]] = []
    while len(cells) < NUM_OBJECTS:
        # x before y, one scalar draw each: the order and form of the draws are part of the layout's definition.
        x = int(generator.integers(0, GRID_SIZE))
        y = int(generator.integers(0, GRID_SIZE))
        if (x, y) not in cells:
            cells.append((x, y))
    return cells
