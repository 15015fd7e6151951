"""The best possible return: against brute force, by hand, and against the reference's figures."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pictures import parse

from env_jax import GridWorld25, State, best_return
from env_jax.gridworld.oracle import best_routes

jit_best_return = jax.jit(best_return)
jit_best_routes = jax.jit(best_routes)
best_returns = jax.jit(jax.vmap(best_return, in_axes=(0, None)))


def brute_force(agents, foods, present, discount):
    """Try every assignment of the remaining foods to agents and every order of each agent's foods."""
    remaining = [food for food in range(4) if present[food]]
    routes = {}  # (agent, foods in order) -> value
    for agent in range(4):
        for length in range(len(remaining) + 1):
            for order in itertools.permutations(remaining, length):
                routes[agent, order] = _route_value(agents[agent], [foods[food] for food in order], discount)
    best = 0.0
    for assignment in itertools.product(range(4), repeat=len(remaining)):
        shares = [[food for food, owner in zip(remaining, assignment, strict=True) if owner == a] for a in range(4)]
        orders = [itertools.permutations(share) for share in shares]
        best = max(best, sum(max(routes[a, order] for order in orders[a]) for a in range(4)))
    return best


def _route_value(cell, stops, discount):
    steps, value = 0, 0.0
    for stop in stops:
        steps += int(np.abs(cell - stop).sum())
        steps = max(steps, 1)  # a food under the agent's feet is collected by the first step
        value += discount ** (steps - 1)
        cell = stop
    return value


@pytest.mark.parametrize(("side", "discount"), [(25, 0.95), (25, 0.99), (6, 0.9), (3, 0.5), (3, 1.0), (3, 0.0)])
def test_equals_brute_force_with_some_foods_gone(side, discount):
    rng = np.random.default_rng(side)
    count = 40
    agents, foods = rng.integers(0, side, (2, count, 4, 2), dtype=np.int32)
    present = rng.random((count, 4)) < 0.75
    states = State(jnp.asarray(agents), jnp.asarray(foods), jnp.asarray(present), jnp.zeros(count, jnp.int32))
    expected = [brute_force(*situation, discount) for situation in zip(agents, foods, present, strict=True)]
    np.testing.assert_allclose(best_returns(states, discount), expected, rtol=2e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("drawing", "value"),
    [
        ("A . .", 0.0),  # nothing left
        ("A 1 .", 1.0),  # next to it: the first step's reward is not discounted
        (". . . 1 .\nA . . . .", 0.5**3),
        ("A 1 2 3", 1.75),  # one after another
        ("2 . A 1 B", 1.5),  # each its own, at distances 1 and 2, not both by A
        ("A 1 2 B", 2.0),
    ],
)
def test_small_situations_by_hand(drawing, value):
    assert jit_best_return(parse(drawing), 0.5) == value


def test_the_references_figures_of_fixed_layouts():
    starts = [GridWorld25(layout_seed=seed).reset(jax.random.key(0))[0] for seed in range(6)]
    values = best_returns(jax.tree.map(lambda *leaves: jnp.stack(leaves), *starts), 0.95)
    np.testing.assert_allclose(values, [2.1959, 2.3664, 2.4547, 2.6329, 2.2484, 2.2765], atol=5.1e-5)


def test_the_references_figures_of_random_starts():
    keys = jax.random.split(jax.random.key(0), 20_000)
    states, _ = jax.jit(jax.vmap(GridWorld25("random").reset))(keys)
    values = np.asarray(best_returns(states, 0.95))
    # The reference averages 2,000 starts: standard errors 0.0078 of its mean and 0.0055 of its deviation.
    assert values.mean() == pytest.approx(2.676, abs=3.5 * 0.0082)
    assert values.std() == pytest.approx(0.348, abs=3.5 * 0.0058)


def test_the_routes_reach_the_best_return_with_some_foods_gone():
    rng = np.random.default_rng(0)
    agents, foods = rng.integers(0, 6, (2, 40, 4, 2), dtype=np.int32)  # crowded: foods lie on the way to others
    present = rng.random((40, 4)) < 0.75
    states = State(jnp.asarray(agents), jnp.asarray(foods), jnp.asarray(present), jnp.zeros(40, jnp.int32))
    routes = np.asarray(jax.jit(jax.vmap(best_routes, in_axes=(0, None)))(states, 0.9))
    for k, best in enumerate(best_returns(states, 0.9)):
        visited = [[food for food in route if food >= 0] for route in routes[k].tolist()]
        assert sorted(itertools.chain(*visited)) == np.flatnonzero(present[k]).tolist()
        assert all(route[: len(kept)] == kept for route, kept in zip(routes[k].tolist(), visited, strict=True))
        values = [_route_value(agents[k, a], [foods[k, food] for food in visited[a]], 0.9) for a in range(4)]
        assert sum(values) == pytest.approx(float(best), rel=1e-5)


@pytest.mark.parametrize(
    ("drawing", "routes"),
    [
        ("A 1 2 . 3", [[0, 1, 2, -1], [-1] * 4]),
        ("2 . A 1 B", [[1, -1, -1, -1], [0, -1, -1, -1]]),
        ("A . . . B 2 1", [[-1] * 4, [1, 0, -1, -1]]),
    ],
)
def test_routes_by_hand(drawing, routes):
    found = np.asarray(jit_best_routes(parse(drawing), 0.5))
    np.testing.assert_array_equal(found, [*routes, [-1] * 4, [-1] * 4])
