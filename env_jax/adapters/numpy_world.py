"""One GridWorld25 stepped from Python, without JAX: calling a compiled function costs more than a whole step.

Cells are tuples. The results of moves and the observations of cells are looked up in precomputed tables; the
observations of all agents are one concatenation of 24 pieces of 12 bytes.
"""

from collections.abc import Iterable, Sequence
from operator import itemgetter, ne

import numpy as np

from env_jax.gridworld.constants import (
    COLLECT,
    DOWN,
    GRID_SIZE,
    LEFT,
    NUM_AGENTS,
    NUM_FOOD_SLOTS,
    NUM_FOODS,
    OBSERVATION_SIZE,
    RIGHT,
    STAY,
    UP,
)
from env_jax.gridworld.observations import NEIGHBOUR, food_in_slot

Cell = tuple[int, int]  # x, y
Food = tuple[int, int, int]  # x, y, level, which is 1

_CELLS = [(x, y) for x in range(GRID_SIZE) for y in range(GRID_SIZE)]


def _destinations(step_x: int, step_y: int) -> dict[Cell, Cell]:
    """Return where a move leads from every cell; moves off the grid stay."""
    moved = {(x, y): (x + step_x, y + step_y) for x, y in _CELLS}
    return {cell: target if target in moved else cell for cell, target in moved.items()}


_STAYING = _destinations(0, 0)
_MOVES = {
    STAY: _STAYING,
    UP: _destinations(0, -1),
    DOWN: _destinations(0, 1),
    LEFT: _destinations(-1, 0),
    RIGHT: _destinations(1, 0),
}
_FOODS_NEAR = {(x, y): {(x, y - 1, 1), (x, y + 1, 1), (x - 1, y, 1), (x + 1, y, 1)} for x, y in _CELLS}

_EMPTY = bytes(12)
_AGENT_PIECE = {(x, y): np.array([x, y, 1], np.float32).tobytes() for x, y in _CELLS}
_FOOD_PIECE = {(x, y, 1): piece for (x, y), piece in _AGENT_PIECE.items()}


def _piece_order(remaining: int) -> itemgetter:
    """Return the getter of the observations' 24 pieces from [4 agents, `remaining` foods, empty]."""
    order = []
    for agent in range(NUM_AGENTS):
        foods = [food_in_slot(remaining, agent, slot) for slot in range(NUM_FOOD_SLOTS)]
        order += [agent, NEIGHBOUR[agent], *[-1 if food is None else NUM_AGENTS + food for food in foods], -1]
    return itemgetter(*order)


_PIECE_ORDERS = [_piece_order(remaining) for remaining in range(NUM_FOODS + 1)]


class NumpyWorld:
    """The state of one episode: `agents` as (x, y), remaining `foods` as (x, y, 1), `step_count`."""

    def __init__(self, max_steps: int) -> None:
        """Make an environment without agents or foods; an unsolved episode is truncated after `max_steps` steps."""
        self.max_steps = max_steps
        self.agents: list[Cell] = []
        self.foods: list[Food] = []
        self.step_count = 0

    def start(self, cells: Sequence[Cell]) -> None:
        """Start an episode with agents on the first four of 8 cells (x, y), foods on the others."""
        self.agents = list(cells[:NUM_AGENTS])
        self.foods = [(x, y, 1) for x, y in cells[NUM_AGENTS:]]
        self.step_count = 0

    def step(self, actions: Iterable[int]) -> tuple[list[float], bool, bool]:
        """Move the agents; actions outside 0..5 stay.

        Returns each agent's reward, terminated, truncated. Afterwards `agents` and `foods` are new lists.
        """
        agents, foods = self.agents, self.foods
        proposals = [
            _food_next_to(agent, foods) if action == COLLECT else _MOVES.get(action, _STAYING)[agent]
            for agent, action in zip(agents, actions, strict=True)
        ]
        # Without conflicts, the cells before and after the step are as many as the agents plus the movers.
        if len({*agents, *proposals}) < NUM_AGENTS + sum(map(ne, agents, proposals)):
            proposals = _resolve_collisions(agents, proposals)
        self.agents = agents = proposals
        rewards = [0.0] * NUM_AGENTS
        for food in foods:
            if food[:2] in agents:
                self.foods = [other for other in self.foods if other is not food]
                for i, agent in enumerate(agents):
                    rewards[i] += agent == food[:2]
        self.step_count += 1
        terminated = not self.foods
        truncated = not terminated and self.step_count >= self.max_steps
        if truncated:
            penalty = 0.5 * len(self.foods)  # for every agent
            rewards = [reward - penalty for reward in rewards]
        return rewards, terminated, truncated

    def observe(self) -> np.ndarray:
        """Return the agents' views, a new writable float32[4, 18]."""
        foods = self.foods
        pieces = [*map(_AGENT_PIECE.__getitem__, self.agents), *map(_FOOD_PIECE.__getitem__, foods), _EMPTY]
        numbers = bytearray().join(_PIECE_ORDERS[len(foods)](pieces))
        return np.frombuffer(numbers, np.float32).reshape(NUM_AGENTS, OBSERVATION_SIZE)


def _food_next_to(agent: Cell, foods: list[Food]) -> Cell:
    """Return the cell of the first food at distance exactly 1, or the agent's own."""
    near = _FOODS_NEAR[agent]
    for food in foods:
        if food in near:
            return food[:2]
    return agent


def _resolve_collisions(agents: list[Cell], proposals: list[Cell]) -> list[Cell]:
    """Return where agents end up; the rule is that of `env_jax.gridworld.dynamics.resolve_collisions`."""
    settled = list(proposals)
    for i in range(NUM_AGENTS):
        for j in range(NUM_AGENTS):
            swap = proposals[i] == agents[j] and proposals[j] == agents[i]
            if i != j and (swap or proposals[i] == proposals[j]):
                settled[i] = agents[i]
    return settled
