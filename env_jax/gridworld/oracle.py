"""An upper bound of the return that any team can reach from a state."""

from functools import reduce
from itertools import combinations, pairwise, permutations

import jax
import jax.numpy as jnp
import numpy as np

from env_jax.gridworld.constants import NUM_AGENTS, NUM_FOODS
from env_jax.gridworld.state import State

_ALL_FOODS = 2**NUM_FOODS - 1  # sets of foods are bit masks
NO_FOOD = -1


def best_return(state: State, discount: jax.Array | float) -> jax.Array:
    """Return the best possible discounted team return from `state`, float32[].

    One planner assigns the remaining foods to the agents and orders each agent's route; collisions are ignored. A food
    at distance d costs d steps, and the reward of the t-th step from now, counted from 0, weighs discount**t, so a food
    next to an agent is worth 1. A food under an agent's feet is collected by the next step, so it is also worth 1.
    The time limit and its penalty are ignored: they bind only where `max_steps` is smaller than the routes, and then
    this is still an upper bound.
    """
    discount = jnp.asarray(discount, jnp.float32)
    worth = state.food_present.astype(jnp.float32)  # an absent food is worth nothing, so routes may end with it
    first_leg = jnp.maximum(_distances(state.agent_positions, state.food_positions), 1)
    arrival_weight = discount ** (first_leg - 1).astype(jnp.float32)  # [agent, food]
    leg_weight = discount ** _distances(state.food_positions, state.food_positions).astype(jnp.float32)

    after: dict[tuple[int, int], jax.Array] = {}  # (food, set of other foods) -> value of the others once at the food
    for others in range(_ALL_FOODS + 1):  # ascending, so that every set comes after its subsets
        for food in set(range(NUM_FOODS)) - set(_members(others)):
            after[food, others] = _best_route(leg_weight[food], worth, after, others)
    of_set = [_best_route(arrival_weight.T, worth, after, foods) for foods in range(_ALL_FOODS + 1)]  # each float32[4]
    agents = [[value[agent] for value in of_set] for agent in range(NUM_AGENTS)]
    return reduce(_share, agents)[_ALL_FOODS]


def best_routes(state: State, discount: jax.Array | float) -> jax.Array:
    """Return a plan that reaches `best_return`: the foods that each agent collects, in order, int32[4, 4].

    A row is an agent's route, food numbers 0..3 and then `NO_FOOD`. Ties are broken deterministically.
    Tries all 840 plans; `best_return` computes the value alone at lower cost.
    """
    discount = jnp.asarray(discount, jnp.float32)
    foods = jnp.where(_PLANS == NO_FOOD, 0, _PLANS)  # [plan, agent, leg]
    visited = (_PLANS != NO_FOOD) & state.food_present[foods]
    first_leg = jnp.maximum(_distances(state.agent_positions, state.food_positions), 1)
    later_leg = _distances(state.food_positions, state.food_positions)
    agents = np.arange(NUM_AGENTS)[None]
    legs = jnp.concatenate(
        [first_leg[agents, foods[:, :, 0]][:, :, None], later_leg[foods[:, :, :-1], foods[:, :, 1:]]], axis=2
    )
    worth = jnp.where(visited, discount ** (jnp.cumsum(legs, axis=2) - 1).astype(jnp.float32), 0.0)
    best = jnp.argmax(worth.sum(axis=(1, 2)))
    routes = jnp.where(visited[best], foods[best], NO_FOOD)
    # An absent food on the way to another one costs nothing, so that a best plan may pass it.
    return jnp.take_along_axis(routes, jnp.argsort(routes == NO_FOOD, axis=1, stable=True), axis=1)


def _all_plans() -> np.ndarray:
    """Return every way to deal all foods to the agents in every order, int32[840, 4, 4], rows as in `best_routes`."""
    dealers = range(NUM_FOODS + NUM_AGENTS - 1)
    plans = []
    for order in permutations(range(NUM_FOODS)):
        for bars in combinations(dealers, NUM_AGENTS - 1):  # foods and bars in a row: a bar ends an agent's route
            remaining = iter(order)
            ends = (-1, *bars, len(dealers))
            lengths = [after - before - 1 for before, after in pairwise(ends)]
            routes = [[next(remaining) for _ in range(length)] for length in lengths]
            plans.append([route + [NO_FOOD] * (NUM_FOODS - len(route)) for route in routes])
    return np.array(plans, np.int32)


_PLANS = _all_plans()


def _best_route(weight: jax.Array, worth: jax.Array, after: dict[tuple[int, int], jax.Array], foods: int) -> jax.Array:
    """Return the best value of collecting a set of foods; weight[food] discounts the way to the first one.

    Discounting is multiplicative, so what follows the first food depends on neither the agent nor the time.
    """
    values = [weight[food] * (worth[food] + after[food, foods & ~(1 << food)]) for food in _members(foods)]
    return reduce(jnp.maximum, values, jnp.zeros_like(weight[0]))


def _share(first: list[jax.Array], second: list[jax.Array]) -> list[jax.Array]:
    """Combine two parties' values of each set into the value of each set shared between them in the best way."""
    return [
        reduce(jnp.maximum, [first[part] + second[foods & ~part] for part in range(foods + 1) if part & foods == part])
        for foods in range(_ALL_FOODS + 1)
    ]


def _distances(origins: jax.Array, targets: jax.Array) -> jax.Array:
    return jnp.abs(origins[:, None] - targets[None]).sum(axis=-1)


def _members(foods: int) -> list[int]:
    return [food for food in range(NUM_FOODS) if foods & (1 << food)]
