"""The two-step game of Rashid et al. (2018), which a sum of values cannot represent: `--env two_step:TwoStep`."""

import jax.numpy as jnp

from env_jax import EnvSpec, TimeStep

PAYOFFS = jnp.array([[[7, 7], [7, 7]], [[0, 1], [1, 8]]], jnp.float32)  # of games A and B, by the two agents' actions


class TwoStep:
    def __init__(self):
        self.spec = EnvSpec(
            name="TwoStep",
            num_agents=2,
            num_actions=2,
            observation_size=3,
            state_size=3,
            max_steps=2,
            observation_dtype=jnp.float32,
            masks_actions=False,
            best_return=lambda state, discount: 8.0 * discount,
        )

    def reset(self, key):
        state = jnp.zeros((), jnp.int32)  # 0: the first step; 1, 2: games A, B; 3, 4: they are over
        return state, self.show(state, 0.0)

    def step(self, key, state, actions):
        payoff = PAYOFFS[(state - 1) % 2, actions[0], actions[1]]
        chosen = jnp.where(state == 0, 1 + actions[0], state + 2)  # the first agent chooses the game
        return chosen, self.show(chosen, jnp.where(state == 0, 0.0, payoff))

    def show(self, state, reward):
        stage = (state == jnp.arange(3)).astype(jnp.float32)
        return TimeStep(
            observations=jnp.tile(stage, (2, 1)),
            state=stage,
            action_mask=jnp.ones((2, 2), bool),
            rewards=jnp.full(2, reward / 2),
            terminated=state > 2,
            truncated=jnp.zeros((), bool),
        )
