"""The best return that any team could reach from a state: the physical limit of learning."""

from functools import reduce

import jax
import jax.numpy as jnp

from env_jax.constants import NUM_FOODS
from env_jax.types import State

_ALL_FOODS = 2**NUM_FOODS - 1  # sets of foods are bit masks


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

    after = _value_after(leg_weight, worth)
    none = jnp.zeros_like(arrival_weight[:, 0])
    of_set = [  # value of each set to each agent: list over the 16 sets of float32[4]
        _best([none, *(arrival_weight[:, food] * (worth[food] + after[food, foods & ~(1 << food)]) for food in _foods(foods))])
        for foods in range(_ALL_FOODS + 1)
    ]
    agents = [[value[agent] for value in of_set] for agent in range(state.agent_positions.shape[0])]
    return reduce(_share, agents)[_ALL_FOODS]


def _value_after(leg_weight: jax.Array, worth: jax.Array) -> dict[tuple[int, int], jax.Array]:
    """Map (food, other foods) to the best value of collecting the others, seen from the step that collected `food`.

    Discounting is multiplicative, so this does not depend on which agent walks or when it started.
    """
    after: dict[tuple[int, int], jax.Array] = {}
    for others in range(_ALL_FOODS + 1):  # ascending, so that subsets come before their supersets
        for food in range(NUM_FOODS):
            if others & (1 << food):
                continue
            after[food, others] = _best(
                [jnp.zeros(())]
                + [leg_weight[food, n] * (worth[n] + after[n, others & ~(1 << n)]) for n in _foods(others)]
            )
    return after


def _share(first: list[jax.Array], second: list[jax.Array]) -> list[jax.Array]:
    """Combine two parties' values of each set into the value of each set shared between them in the best way."""
    return [
        _best([first[part] + second[foods & ~part] for part in range(foods + 1) if part & foods == part])
        for foods in range(_ALL_FOODS + 1)
    ]


def _distances(origins: jax.Array, targets: jax.Array) -> jax.Array:
    return jnp.abs(origins[:, None] - targets[None]).sum(axis=-1)


def _foods(foods: int) -> list[int]:
    return [food for food in range(NUM_FOODS) if foods & (1 << food)]


def _best(values: list[jax.Array]) -> jax.Array:
    return reduce(jnp.maximum, values)
