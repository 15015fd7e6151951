"""One joint move: agents propose cells, collisions are resolved, foods are collected."""

import jax
import jax.numpy as jnp
import numpy as np

from env_jax.constants import COLLECT, DOWN, GRID_SIZE, LEFT, NUM_AGENTS, NUM_FOODS, RIGHT, UP

_OTHER_AGENT = ~np.eye(NUM_AGENTS, dtype=bool)


def propose(
    agent_positions: jax.Array, food_positions: jax.Array, food_present: jax.Array, actions: jax.Array
) -> jax.Array:
    """Return the cell each agent wants to be on, int32[4, 2].

    Takes agent_positions int32[4, 2], food_positions int32[4, 2], food_present bool[4], actions int32[4]. Moves off the
    grid and illegal actions (outside 0..5) propose to stay. Collecting proposes the first remaining food, in food
    order, at Manhattan distance exactly 1, if there is one.
    """
    step_x = (actions == RIGHT).astype(jnp.int32) - (actions == LEFT).astype(jnp.int32)
    step_y = (actions == DOWN).astype(jnp.int32) - (actions == UP).astype(jnp.int32)
    proposals = jnp.clip(agent_positions + jnp.stack([step_x, step_y], axis=-1), 0, GRID_SIZE - 1)
    distances = jnp.abs(agent_positions[:, None] - food_positions[None]).sum(axis=-1)
    wanted = (distances == 1) & food_present[None] & (actions == COLLECT)[:, None]
    for food in reversed(range(NUM_FOODS)):  # the first food is written last, so it wins
        proposals = jnp.where(wanted[:, food, None], food_positions[None, food], proposals)
    return proposals


def resolve_collisions(agent_positions: jax.Array, proposals: jax.Array) -> jax.Array:
    """Return where the agents end up, int32[4, 2], from positions and proposals, both int32[4, 2].

    An agent stays where it was if another one proposes the same cell or proposes to swap cells with it. This is judged
    once, on proposals: an agent may move into the cell that a blocked agent had proposed to leave, and then shares it.
    That is the reference's behaviour, kept so that its policies and results stay comparable.
    """
    same_cell = (proposals[:, None] == proposals[None]).all(axis=-1)
    enters_other = (proposals[:, None] == agent_positions[None]).all(axis=-1)
    blocked = ((same_cell | (enters_other & enters_other.T)) & _OTHER_AGENT).any(axis=1)
    return jnp.where(blocked[:, None], agent_positions, proposals)


def collect(
    agent_positions: jax.Array, food_positions: jax.Array, food_present: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Take the foods that agents stand on.

    Takes agent_positions int32[4, 2], food_positions int32[4, 2], food_present bool[4]. Returns each agent's number of
    foods, int32[4], and the foods still present, bool[4]. Agents sharing a cell all count its food.
    """
    taken = (agent_positions[:, None] == food_positions[None]).all(axis=-1) & food_present[None]
    return taken.sum(axis=1, dtype=jnp.int32), food_present & ~taken.any(axis=0)
