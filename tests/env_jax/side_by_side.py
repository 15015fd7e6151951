"""An adapter and `env_jax` played side by side: what the adapters' tests share."""

import jax.numpy as jnp
import numpy as np

from env_jax import State


def state_of(agents, foods):
    """Return the `env_jax` state at the start of an episode: agents (x, y), up to four foods (x, y) or (x, y, 1)."""
    cells = [tuple(food[:2]) for food in foods]
    return State(
        agent_positions=jnp.asarray(agents, jnp.int32),
        food_positions=jnp.asarray(cells + [(0, 0)] * (4 - len(cells)), jnp.int32),
        food_present=jnp.arange(4, dtype=jnp.int32) < len(cells),
        step_count=jnp.zeros((), jnp.int32),
    )


def start_from_observation(numbers):
    """Return the state that a start's observations, numbers[72] or [4, 18], show; all four foods are there."""
    views = np.asarray(numbers).reshape(4, 18)
    foods = [*views[0, 6:15].reshape(3, 3), views[1, 12:15]]  # agent 0 sees foods 0, 1, 2, agent 1 sees 1, 2, 3
    return state_of(views[:, :2], [food[:2] for food in foods])


def crowded_start(generator):
    """Return cells (x, y) of four agents and four foods in a square of 4 x 4: agents block each other, foods go."""
    cells = [(x, y) for x in range(4) for y in range(4)]
    return [cells[i] for i in generator.permutation(16)[:8]]
