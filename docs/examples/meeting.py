"""Two walkers on a line must meet: `qmix-jax train --env meeting:Meeting` in this folder."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from env_jax import EnvSpec, TimeStep


class Walkers(NamedTuple):
    cells: jax.Array  # int32[2]
    steps: jax.Array  # int32[], since the reset


class Meeting:
    def __init__(self, length: int = 9, max_steps: int = 20):  # --env_args length=5
        self.length = length
        actions = 3  # left, wait, right
        self.spec = EnvSpec("Meeting", 2, actions, 2, 2, max_steps, jnp.float32, False, best_return=self.best_return)

    def reset(self, key):
        state = Walkers(jax.random.choice(key, self.length, (2,), replace=False), jnp.zeros((), jnp.int32))
        return state, self.show(state)

    def step(self, key, state, actions):
        cells = jnp.clip(state.cells + actions - 1, 0, self.length - 1)
        state = Walkers(cells, state.steps + 1)
        return state, self.show(state)

    def show(self, state):
        met = state.cells[0] == state.cells[1]
        places = state.cells / (self.length - 1)
        return TimeStep(
            observations=jnp.stack([places, places[::-1]], axis=1),  # [2, 2]: where I am, where the other is
            state=places,
            action_mask=jnp.ones((2, 3), bool),
            rewards=jnp.full(2, jnp.where(met, 0.5, 0.0)),  # each walker's share of the team's reward of 1
            terminated=met,
            truncated=~met & (state.steps >= self.spec.max_steps),
        )

    def best_return(self, state, discount):  # both walk, but at distance 1 one must wait
        distance = jnp.abs(state.cells[0] - state.cells[1])
        return discount ** ((distance + 1) // 2 - 1).astype(jnp.float32)
