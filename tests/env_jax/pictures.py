"""Situations drawn in ASCII: agents A B C D, foods 1 2 3 4, `.` for an empty cell, `AB` for two in one cell.

A drawing shows the top left part of the grid. Agents that are not drawn stand far away, each in a cell of its own;
foods that are not drawn were collected before.
"""

import jax.numpy as jnp
import numpy as np

from env_jax import State

AGENTS = "ABCD"
FOODS = "1234"
_PARKED_AGENTS = [(24, 18), (24, 20), (24, 22), (24, 24)]
_GONE_FOOD = (12, 12)


def parse(drawing: str, step_count: int = 0) -> State:
    """Turn a drawing into the state it shows."""
    agents, foods, present = list(_PARKED_AGENTS), [_GONE_FOOD] * 4, [False] * 4
    for y, row in enumerate(drawing.split("\n")):
        for x, cell in enumerate(row.split()):
            for symbol in cell.replace(".", ""):
                if symbol in AGENTS:
                    agents[AGENTS.index(symbol)] = (x, y)
                else:
                    foods[FOODS.index(symbol)] = (x, y)
                    present[FOODS.index(symbol)] = True
    return State(
        agent_positions=jnp.asarray(agents, jnp.int32),
        food_positions=jnp.asarray(foods, jnp.int32),
        food_present=jnp.asarray(present),
        step_count=jnp.asarray(step_count, jnp.int32),
    )


def draw(state: State, width: int, height: int) -> str:
    """Draw the top left `width` x `height` cells of a state."""
    cells = [["" for _ in range(width)] for _ in range(height)]
    objects = [*zip(AGENTS, np.asarray(state.agent_positions), [True] * 4, strict=True)]
    objects += zip(FOODS, np.asarray(state.food_positions), np.asarray(state.food_present), strict=True)
    for symbol, (x, y), shown in objects:
        if shown and x < width and y < height:
            cells[y][x] += symbol
    return "\n".join(" ".join(cell or "." for cell in row) for row in cells)
