"""One joint move: agents propose cells, collisions are resolved, foods are collected.

Agents and foods are cells as integers (`cells`); a collected food is `NOWHERE`. Each function ends in a reduction
over the other agents or the foods, so that XLA computes its result once instead of once per use.
"""

import jax
import jax.numpy as jnp
import numpy as np

from env_jax.gridworld.cells import CELL_MASK, STEP_X, STEP_Y, adjacent, unpack
from env_jax.gridworld.constants import COLLECT, DOWN, GRID_SIZE, LEFT, NUM_AGENTS, NUM_FOODS, RIGHT, UP

_OTHER_AGENT = ~np.eye(NUM_AGENTS, dtype=bool)
_FOOD_PREFERENCE = np.arange(NUM_FOODS, dtype=np.int32)[None] * (CELL_MASK + 1)
_MOVE_PREFERENCE = NUM_FOODS * (CELL_MASK + 1)


def propose(agents: jax.Array, foods: jax.Array, actions: jax.Array) -> jax.Array:
    """Return the cell each agent proposes to enter, int32[4], from agents int32[4], foods int32[4], actions int32[4].

    Moves off the grid and illegal actions (outside 0..5) propose to stay. Collecting proposes the first remaining food,
    in food order, at Manhattan distance exactly 1, if there is one.
    """
    x, y = jnp.unstack(unpack(agents), axis=1)
    last = GRID_SIZE - 1
    move_x = ((actions == RIGHT) & (x < last)).astype(jnp.int32) - ((actions == LEFT) & (x > 0)).astype(jnp.int32)
    move_y = ((actions == DOWN) & (y < last)).astype(jnp.int32) - ((actions == UP) & (y > 0)).astype(jnp.int32)
    destination = agents + move_x * STEP_X + move_y * STEP_Y
    # One minimum over (preference, cell) pairs packed into integers: foods in their order, then the move.
    wanted = (actions == COLLECT)[:, None] & adjacent(agents[:, None], foods[None])
    candidates = jnp.where(wanted, _FOOD_PREFERENCE | foods[None], _MOVE_PREFERENCE | destination[:, None])
    return candidates.min(axis=1) & CELL_MASK


def resolve_collisions(agents: jax.Array, proposals: jax.Array) -> jax.Array:
    """Return where the agents end up, int32[4], from their cells and their proposals, both int32[4].

    An agent stays if another one proposes the same cell or proposes to swap cells with it. Only proposals are compared:
    an agent may enter the cell that a blocked agent proposed to leave, and then shares it. This is the reference's
    behaviour, kept so that policies and results are comparable.
    """
    same_cell = proposals[:, None] == proposals[None]
    swap = (proposals[:, None] == agents[None]) & (agents[:, None] == proposals[None])
    blocked = ((same_cell | swap) & _OTHER_AGENT).any(axis=1)
    return jnp.where(blocked, agents, proposals)


def collect(agents: jax.Array, foods: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Collect the foods that agents stand on.

    From agents int32[4] and foods int32[4], returns each agent's number of foods, int32[4], and which foods were taken,
    bool[4]. Agents sharing a cell all count its food.
    """
    taken = agents[:, None] == foods[None]
    return taken.sum(axis=1, dtype=jnp.int32), taken.any(axis=0)
