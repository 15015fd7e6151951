"""Two walkers on a line must meet: `qmix-jax train --env meeting:Meeting` in this folder."""

import jax
import jax.numpy as jnp

from env_jax import EnvSpec, TimeStep


class Meeting:
    def __init__(self, length: int = 9, max_steps: int = 20):  # --env_args length=5 max_steps=10
        self.length = length
        self.spec = EnvSpec(
            name="Meeting",
            num_agents=2,
            num_actions=3,  # left, wait, right
            observation_size=2,
            state_size=2,
            max_steps=max_steps,
            observation_dtype=jnp.float32,
            masks_actions=False,
            best_return=self.best_return,
        )

    def reset(self, key):
        cells = jax.random.choice(key, self.length, (2,), replace=False)
        state = {"cells": cells, "steps": jnp.zeros((), jnp.int32)}
        return state, self.show(state)

    def step(self, key, state, actions):
        cells = jnp.clip(state["cells"] + actions - 1, 0, self.length - 1)
        state = {"cells": cells, "steps": state["steps"] + 1}
        return state, self.show(state)

    def show(self, state):
        met = state["cells"][0] == state["cells"][1]
        own = state["cells"] / (self.length - 1)
        return TimeStep(
            observations=jnp.stack([own, own[::-1]], axis=1),  # [2, 2]: where I am, where the other is
            state=own,
            action_mask=jnp.ones((2, 3), bool),
            rewards=jnp.full(2, jnp.where(met, 0.5, 0.0)),  # each walker's share of the team's reward of 1
            terminated=met,
            truncated=~met & (state["steps"] >= self.spec.max_steps),
        )

    def best_return(self, state, discount):  # both walk, but at distance 1 one must wait
        distance = jnp.abs(state["cells"][0] - state["cells"][1])
        return discount ** ((distance + 1) // 2 - 1).astype(jnp.float32)
