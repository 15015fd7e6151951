"""The best joint play of GridWorld25 that respects its rules, found by search.

`env_jax.gridworld.oracle` deals foods to agents and ignores collisions. Here paths are searched on which nobody is
blocked: conflict-based search (G. Sharon, R. Stern, A. Felner, N. R. Sturtevant. Conflict-based search for optimal
multi-agent pathfinding. Artificial Intelligence 219, 2015), with a dynamic program over time, cells and foods collected
so far for a single agent.

Dealings are searched in the order of their returns without collisions. A play that reaches the first of them, the
oracle's bound, is the best one.
"""

import heapq
from collections.abc import Sequence
from functools import cache
from itertools import combinations, count, pairwise, permutations
from typing import NamedTuple

import numpy as np

from env_jax.gridworld.constants import DOWN, GRID_SIZE, LEFT, NUM_AGENTS, RIGHT, STAY, UP

Cell = tuple[int, int]
Path = list[Cell]  # the cell before every step, and the one after the last
Routes = tuple[tuple[int, ...], ...]  # the foods of each agent, in order
Constraint = tuple[int, Cell | None, Cell]  # (t, from, to): not at `to` after t steps, or only not from `from`

_MOVES: dict[Cell, int] = {(0, 0): STAY, (0, -1): UP, (0, 1): DOWN, (-1, 0): LEFT, (1, 0): RIGHT}
_STEPS = list(_MOVES)
_COLLECTS = 8  # added to the number of a move that collects a target
_MET = 1e-12  # what meeting an agent costs, so that one of equally good paths is chosen that meets few
_SAME = 1e-9  # returns that differ by less are equal; more than all agents that can be met
_SLACK = 8  # steps by which a play may last longer than its dealing without collisions
_MOST_NODES = 50  # of the search of one dealing, after which it is given up


def _shift(step: Cell) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Return where a step leads from and to, as slices of the grid."""
    ends = [(max(0, -d), GRID_SIZE - max(0, d)) for d in step]
    return tuple(slice(a, b) for a, b in ends), tuple(slice(a + d, b + d) for (a, b), d in zip(ends, step, strict=True))


_SHIFTS = [_shift(step) for step in _STEPS]


class Play(NamedTuple):
    """The best joint play found from a start."""

    value: float  # discounted team return of `paths`
    bound: float  # of every play: the oracle's, which ignores collisions
    paths: list[Path]


class _Node(NamedTuple):
    value: float
    end: int  # steps until the last food is collected
    paths: list[Path]
    constraints: tuple[frozenset[Constraint], ...]


def best_play(agents: np.ndarray, foods: np.ndarray, discount: float) -> Play:
    """Search from a start: agents int[4, 2] and foods int[4, 2], all on different cells."""
    dealings = ranked_dealings(agents, foods, discount)
    best = Play(-np.inf, dealings[0][0], [])
    for bound, routes in dealings:
        if bound <= best.value + _SAME:
            break
        best = _search(agents, foods, routes, discount, best)
    return best


def ranked_dealings(agents: np.ndarray, foods: np.ndarray, discount: float) -> list[tuple[float, Routes]]:
    """Return all dealings of the foods with their returns without collisions, the best first."""
    first = np.abs(agents[:, None] - foods[None]).sum(axis=-1)
    later = np.abs(foods[:, None] - foods[None]).sum(axis=-1)

    def worth(agent: int, route: tuple[int, ...]) -> float:
        legs = [first[agent, food] for food in route[:1]] + [later[pair] for pair in pairwise(route)]
        return float(np.sum(discount ** (np.cumsum(legs) - 1.0)))

    routes = {(agent, route): worth(agent, route) for agent in range(NUM_AGENTS) for route in _orders(len(foods))}
    ranked = [(sum(routes[part] for part in enumerate(dealing)), dealing) for dealing in _dealings(len(foods))]
    return sorted(ranked, key=lambda pair: -pair[0])


def actions_of(paths: Sequence[Path]) -> np.ndarray:
    """Return the joint actions, int[T, N], that walk along `paths`."""
    return np.array([[_MOVES[b[0] - a[0], b[1] - a[1]] for a, b in pairwise(path)] for path in paths], np.int32).T


@cache
def _orders(num_foods: int) -> list[tuple[int, ...]]:
    return [order for length in range(num_foods + 1) for order in permutations(range(num_foods), length)]


@cache
def _dealings(num_foods: int) -> list[Routes]:
    cuts = list(combinations(range(num_foods + NUM_AGENTS - 1), NUM_AGENTS - 1))
    bounds = [(0, *(cut - k for k, cut in enumerate(chosen)), num_foods) for chosen in cuts]
    return [tuple(order[a:b] for a, b in pairwise(ends)) for order in permutations(range(num_foods)) for ends in bounds]


def _search(agents: np.ndarray, foods: np.ndarray, routes: Routes, discount: float, best: Play) -> Play:
    """Return the best play of a dealing if it is better than `best`, else `best`."""
    starts = [_cell(agent) for agent in agents]
    targets = [[_cell(foods[food]) for food in route] for route in routes]
    lengths = [sum(_distance(*leg) for leg in pairwise([start, *t])) for start, t in zip(starts, targets, strict=True)]
    horizon = max(lengths) + _SLACK
    order, open_nodes = count(), []

    def plan(agent: int, constraints: frozenset[Constraint], others: Sequence[Path]) -> Path | None:
        return _best_path(starts[agent], targets[agent], horizon, constraints, others, discount)

    def push(paths: list[Path], constraints: tuple[frozenset[Constraint], ...]) -> None:
        ends = [_end_and_value(path, t, discount) for path, t in zip(paths, targets, strict=True)]
        node = _Node(sum(value for _, value in ends), max(end for end, _ in ends), paths, constraints)
        heapq.heappush(open_nodes, (-node.value, len(_conflicts(node)), next(order), node))

    free: frozenset[Constraint] = frozenset()
    paths: list[Path] = []
    for agent in range(NUM_AGENTS):
        paths.append(plan(agent, free, paths) or [])
    push(paths, (free,) * NUM_AGENTS)
    for _ in range(_MOST_NODES):
        if not open_nodes or -open_nodes[0][0] <= best.value + _SAME:
            break
        node = heapq.heappop(open_nodes)[-1]
        conflicts = _conflicts(node)
        if not conflicts:
            return best._replace(value=node.value, paths=node.paths)
        for agent, constraint in conflicts[0]:
            constraints = list(node.constraints)
            constraints[agent] = constraints[agent] | {constraint}
            path = plan(agent, constraints[agent], [other for k, other in enumerate(node.paths) if k != agent])
            if path is not None:
                push([*node.paths[:agent], path, *node.paths[agent + 1 :]], tuple(constraints))
    return best


def _best_path(
    start: Cell,
    targets: Sequence[Cell],
    horizon: int,
    constraints: frozenset[Constraint],
    others: Sequence[Path],
    discount: float,
) -> Path | None:
    """Return the path of `horizon` steps with the highest return that visits the targets in order, if there is one.

    Of equally good paths, it is one that meets the fewest of `others`.
    """
    legs = len(targets)
    values = np.full((legs + 1, GRID_SIZE, GRID_SIZE), -np.inf)  # by targets collected and cell
    values[(0, *start)] = 0.0
    chosen = np.empty((horizon, *values.shape), np.int8)
    for t in range(1, horizon + 1):
        options = np.full((len(_STEPS), *values.shape), -np.inf)
        for move, (source, sink) in enumerate(_SHIFTS):
            options[(move, slice(None), *sink)] = values[(slice(None), *source)]
        for path in others:
            before, after = path[t - 1], path[t]
            options[(slice(None), slice(None), *after)] -= _MET
            if before != after:
                options[(_step(after, before), slice(None), *before)] -= _MET
        for _, source_cell, cell in (constraint for constraint in constraints if constraint[0] == t):
            move = slice(None) if source_cell is None else _step(source_cell, cell)
            options[(move, slice(None), *cell)] = -np.inf
        chosen[t - 1], values = options.argmax(axis=0), options.max(axis=0)
        for leg, cell in reversed(list(enumerate(targets))):
            collected = values[(leg, *cell)] + discount ** (t - 1)
            values[(leg, *cell)] = -np.inf  # whoever stands on its target has collected it
            if collected > values[(leg + 1, *cell)]:
                values[(leg + 1, *cell)] = collected
                chosen[(t - 1, leg + 1, *cell)] = chosen[(t - 1, leg, *cell)] + _COLLECTS
    return _walk_back(values[legs], chosen)


def _walk_back(values: np.ndarray, chosen: np.ndarray) -> Path | None:
    """Return the path that leads to the best of the last values, float[25, 25]; None if there is none."""
    cell, leg = _cell(np.unravel_index(values.argmax(), values.shape)), chosen.shape[1] - 1
    if values[cell] == -np.inf:
        return None
    path = [cell]
    for at in reversed(chosen):
        collects, move = divmod(int(at[(leg, *cell)]), _COLLECTS)
        leg, cell = leg - collects, (cell[0] - _STEPS[move][0], cell[1] - _STEPS[move][1])
        path.append(cell)
    return path[::-1]


def _conflicts(node: _Node) -> list[tuple[tuple[int, Constraint], tuple[int, Constraint]]]:
    """Return where agents would block each other before the last food is collected, the earliest first.

    Each as two constraints, of which every play without this conflict keeps one.
    """
    found: list[tuple[tuple[int, Constraint], tuple[int, Constraint]]] = []
    for t in range(1, node.end + 1):
        for first, second in combinations(range(NUM_AGENTS), 2):
            (a, b), (c, d) = node.paths[first][t - 1 : t + 1], node.paths[second][t - 1 : t + 1]
            if b == d:
                found.append(((first, (t, None, b)), (second, (t, None, d))))
            elif (a, b) == (d, c):
                found.append(((first, (t, a, b)), (second, (t, c, d))))
    return found


def _end_and_value(path: Path, targets: Sequence[Cell], discount: float) -> tuple[int, float]:
    """Return the step of the last target, 0 without any, and the return of visiting them in order."""
    t, value = 0, 0.0
    for target in targets:
        t = path.index(target, t + 1)
        value += discount ** (t - 1)
    return t, value


def _cell(position: Sequence[int] | np.ndarray) -> Cell:
    return int(position[0]), int(position[1])


def _step(origin: Cell, end: Cell) -> int:
    return _STEPS.index((end[0] - origin[0], end[1] - origin[1]))


def _distance(first: Cell, second: Cell) -> int:
    return abs(first[0] - second[0]) + abs(first[1] - second[1])
