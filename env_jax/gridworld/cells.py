"""Cells as single integers, in which moves, collisions and collection are computed.

A cell (x, y) is `MARK | y << 6 | x`. Comparing two cells is then one comparison, a move is an addition, and 0 is
`NOWHERE`: it equals no cell and is next to none. A collected food is `NOWHERE`.
"""

import jax
import jax.numpy as jnp
import numpy as np

NOWHERE = 0
STEP_X = 1
STEP_Y = 1 << 6  # wider than a row, so that the right end of one row is not next to the left end of the next
_MARK = 1 << 12  # keeps every cell different from, and far from, NOWHERE
CELL_MASK = (_MARK << 1) - 1  # the bits of a cell
_COORDINATE = STEP_Y - 1
_SHIFTS = np.array([[0, 6]], np.int32)  # of x and y


def pack(positions: jax.Array) -> jax.Array:
    """Turn (x, y) positions, int32[n, 2], into cells, int32[n]."""
    return _MARK | positions[:, 1] * STEP_Y | positions[:, 0]


def unpack(cells: jax.Array) -> jax.Array:
    """Turn cells, int32[n], back into (x, y) positions, int32[n, 2]."""
    return (cells[:, None] >> _SHIFTS) & _COORDINATE


def adjacent(first: jax.Array, second: jax.Array) -> jax.Array:
    """Return where two cells (broadcastable arrays) are at Manhattan distance exactly 1: bool."""
    difference = jnp.abs(first - second)
    return (difference == STEP_X) | (difference == STEP_Y)
