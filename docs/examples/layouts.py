"""Starts that training never draws like this: `qmix-jax evaluate results/run_1 --on layouts:Corners` in this folder."""

import jax
import jax.numpy as jnp
import numpy as np

from env_jax import GridWorld25
from env_jax.gridworld.layouts import fixed_start

X, Y = jnp.meshgrid(jnp.arange(25), jnp.arange(25))
SEEDS = 64
FIXED = [fixed_start(seed) for seed in range(SEEDS)]  # the layouts of --layout_seed 0 to 63
AGENTS, FOODS = (np.stack(positions) for positions in zip(*FIXED, strict=True))


def draw(key, allowed):  # four different cells (x, y) of those allowed, bool[25, 25] by y and x
    scores = jnp.where(allowed, jax.random.uniform(key, allowed.shape), -1.0)
    _, cells = jax.lax.top_k(scores.reshape(-1), 4)
    return jnp.stack([cells % 25, cells // 25], axis=1)


def free_of(positions):
    return jnp.ones((25, 25), bool).at[positions[:, 1], positions[:, 0]].set(False)


class Clustered(GridWorld25):
    """All foods in a square of 5 x 5 cells somewhere."""

    def reset(self, key):
        square_key, food_key, agent_key = jax.random.split(key, 3)
        x, y = jax.random.randint(square_key, (2,), 0, 21)
        foods = draw(food_key, (X >= x) & (X < x + 5) & (Y >= y) & (Y < y + 5))
        return self.start_at(draw(agent_key, free_of(foods)), foods)


class Corners(GridWorld25):
    """A food in every corner."""

    def reset(self, key):
        order_key, agent_key = jax.random.split(key)
        foods = jax.random.permutation(order_key, jnp.array([(0, 0), (24, 0), (0, 24), (24, 24)]))
        return self.start_at(draw(agent_key, free_of(foods)), foods)


class OneCorner(GridWorld25):
    """All agents in the 3 x 3 cells of one corner."""

    def reset(self, key):
        corner_key, agent_key, food_key = jax.random.split(key, 3)
        x, y = 22 * jax.random.randint(corner_key, (2,), 0, 2)
        agents = draw(agent_key, (X >= x) & (X < x + 3) & (Y >= y) & (Y < y + 3))
        return self.start_at(agents, draw(food_key, free_of(agents)))


class Recorded(GridWorld25):
    """One of the 64 layouts of --layout_seed 0 to 63."""

    def reset(self, key):
        seed = jax.random.randint(key, (), 0, SEEDS)
        return self.start_at(jnp.asarray(AGENTS)[seed], jnp.asarray(FOODS)[seed])
