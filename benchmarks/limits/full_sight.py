"""GridWorld25 whose agents see every agent and every food: what partial sight costs is measured against it."""

from dataclasses import dataclass, field, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from env_jax.gridworld import GridWorld25
from env_jax.gridworld.constants import GRID_SIZE, NUM_AGENTS, NUM_FOODS
from env_jax.gridworld.encoding import NEARNESS_DECAY
from env_jax.gridworld.state import State
from env_jax.types import EnvSpec, TimeStep

SIZE = 2 * NUM_AGENTS + 3 * NUM_FOODS
# Agent i's own cell comes first, then those of agents i+1, i+2, i+3 (mod 4).
_ORDER = (np.arange(NUM_AGENTS)[:, None] + np.arange(NUM_AGENTS)[None]) % NUM_AGENTS


@dataclass(frozen=True)
class FullSight:
    """Random starts of GridWorld25 under the same rules; only what agents observe differs.

    Agent i's observation, 20 numbers: the cells (x, y) of agents i, i+1, i+2, i+3 (mod 4), then each food in its
    original order as (x, y, 1), or 0 0 0 once it is collected. The feature map has the same features for each agent and
    food as `env_jax.gridworld.encoding`.
    """

    inner: GridWorld25 = field(default_factory=partial(GridWorld25, "random"))

    @property
    def spec(self) -> EnvSpec:
        """The grid's spec with longer observations; its baseline, which reads the shorter ones, is left out."""
        return replace(
            self.inner.spec,
            name="FullSight",
            observation_size=SIZE,
            state_size=NUM_AGENTS * SIZE,
            encode_observations=encode,
            state_from_observations=lambda observations: observations.reshape(-1),
            encode_state=lambda state: encode(state.reshape(NUM_AGENTS, SIZE)).reshape(-1),
            baseline_policy=None,
        )

    def reset(self, key: jax.Array) -> tuple[State, TimeStep]:
        """Start an episode: for equal keys, at the same start as the grid's."""
        return _see_all(*self.inner.reset(key))

    def step(self, key: jax.Array, state: State, actions: jax.Array) -> tuple[State, TimeStep]:
        """Take one step with int32[4] actions."""
        return _see_all(*self.inner.step(key, state, actions))


def encode(observations: jax.Array) -> jax.Array:
    """Turn observations, float32[4, 20], into network inputs, float32[4, 49].

    Own cell (2), each other agent (4), each food (7), and the nearest food's 7 again.
    """
    here = observations[:, 0:2]
    others = observations[:, 2 : 2 * NUM_AGENTS].reshape(-1, NUM_AGENTS - 1, 2) - here[:, None]
    slots = observations[:, 2 * NUM_AGENTS :].reshape(-1, NUM_FOODS, 3)
    filled = slots[:, :, 2:]
    foods = (slots[:, :, :2] - here[:, None]) * filled
    food_nearness, food_adjacent = _closeness(foods)
    food_nearness = food_nearness * filled
    far = GRID_SIZE - 1
    food_features = jnp.concatenate([filled, foods / far, food_nearness, food_adjacent, jnp.sign(foods)], axis=-1)
    is_nearest = jnp.argmax(food_nearness, axis=1, keepdims=True) == jnp.arange(NUM_FOODS)[None, :, None]
    agents = jnp.concatenate([others / far, *_closeness(others)], axis=-1)
    rows = observations.shape[0]
    return jnp.concatenate(
        [
            here / far * 2 - 1,
            agents.reshape(rows, -1),
            food_features.reshape(rows, -1),
            jnp.sum(jnp.where(is_nearest, food_features, 0.0), axis=1),
        ],
        axis=-1,
    )


def _closeness(offset: jax.Array) -> tuple[jax.Array, jax.Array]:
    distance = jnp.abs(offset).sum(axis=-1, keepdims=True)
    return NEARNESS_DECAY**distance, (distance == 1).astype(jnp.float32)


def _see_all(state: State, time_step: TimeStep) -> tuple[State, TimeStep]:
    agents = state.agent_positions[_ORDER].reshape(NUM_AGENTS, -1)
    present = state.food_present.astype(jnp.int32)[:, None]
    foods = jnp.concatenate([state.food_positions * present, present], axis=1).reshape(1, -1)
    views = jnp.concatenate([agents, jnp.broadcast_to(foods, (NUM_AGENTS, foods.size))], axis=1).astype(jnp.float32)
    return state, replace(time_step, observations=views, state=views.reshape(-1))
