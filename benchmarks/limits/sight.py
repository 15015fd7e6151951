"""GridWorld25 with other observations, under the same rules: what partial sight costs is measured against it."""

from dataclasses import dataclass, field, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from env_jax.gridworld import GridWorld25
from env_jax.gridworld.constants import GRID_SIZE, NUM_AGENTS, NUM_FOOD_SLOTS, NUM_FOODS
from env_jax.gridworld.encoding import NEARNESS_DECAY
from env_jax.gridworld.observations import NEIGHBOUR
from env_jax.gridworld.state import State
from env_jax.types import EnvSpec, TimeStep

# Whose cells each agent sees: its own, then those of agents i+1, i+2, i+3 (mod 4), or of its neighbour.
_ALL = (np.arange(NUM_AGENTS)[:, None] + np.arange(NUM_AGENTS)[None]) % NUM_AGENTS
_HIDDEN = np.roll(np.eye(NUM_AGENTS, NUM_FOODS, dtype=bool), -1, axis=1)  # [agent, food], while all foods are there
_TWO = np.stack([np.arange(NUM_AGENTS), NEIGHBOUR], axis=1)
_FURTHEST_LEAD = 8  # steps


@dataclass(frozen=True)
class Sight:
    """`inner`, where agents see all agents, all foods, or both.

    An agent's observation: its own cell (x, y) and those of the other agents it sees, then its foods as (x, y, 1), or
    0 0 0: all four in their original order, the same but for the one that the grid hides while all four are there (what
    a perfect memory of the foods would know, `remembered`), or the grid's three slots. The feature map has the same
    features for each agent and food as `env_jax.gridworld.encoding`, and comparisons (`encode`). The global state is
    the four observations, one after another.
    """

    all_agents: bool = True
    all_foods: bool = True
    remembered: bool = False
    inner: GridWorld25 = field(default_factory=partial(GridWorld25, "random"))

    @property
    def spec(self) -> EnvSpec:
        """The grid's spec with these observations, without its baseline, which reads the grid's own."""
        agents = self.order.shape[1]
        foods = NUM_FOODS if self.all_foods or self.remembered else NUM_FOOD_SLOTS
        size = 2 * agents + 3 * foods
        return replace(
            self.inner.spec,
            name={2: "FullSight", 1: "SightOfAgents" if self.all_agents else "SightOfFoods", 0: "OwnSight"}[
                self.all_agents + self.all_foods
            ],
            observation_size=size,
            state_size=NUM_AGENTS * size,
            encode_observations=partial(encode, agents),
            state_from_observations=lambda observations: observations.reshape(-1),
            encode_state=lambda state: encode(agents, state.reshape(NUM_AGENTS, size)).reshape(-1),
            baseline_policy=None,
        )

    @property
    def order(self) -> np.ndarray:
        """Whose cells each agent sees, int[4, V]."""
        return _ALL if self.all_agents else _TWO

    def reset(self, key: jax.Array) -> tuple[State, TimeStep]:
        """Start an episode: for equal keys, at the same start as the grid's."""
        return self._show(*self.inner.reset(key))

    def step(self, key: jax.Array, state: State, actions: jax.Array) -> tuple[State, TimeStep]:
        """Take one step with int32[4] actions."""
        return self._show(*self.inner.step(key, state, actions))

    def _show(self, state: State, time_step: TimeStep) -> tuple[State, TimeStep]:
        agents = state.agent_positions[self.order].reshape(NUM_AGENTS, -1)
        foods = time_step.observations[:, 6 : 6 + 3 * NUM_FOOD_SLOTS]
        if self.all_foods or self.remembered:
            shown = jnp.broadcast_to(state.food_present, (NUM_AGENTS, NUM_FOODS))
            if not self.all_foods:
                shown &= ~(_HIDDEN & state.food_present.all())
            shown = shown.astype(jnp.int32)[:, :, None]
            foods = jnp.concatenate([state.food_positions[None] * shown, shown], axis=2).reshape(NUM_AGENTS, -1)
        views = jnp.concatenate([agents.astype(jnp.float32), foods.astype(jnp.float32)], axis=1)
        return state, replace(time_step, observations=views, state=views.reshape(-1))


def encode(agents: int, observations: jax.Array) -> jax.Array:
    """Turn observations of `agents` agents and F foods, float32[4, 2 agents + 3 F], into network inputs.

    Own cell (2), each other agent (4), each food (7), and the nearest food's 7 again. Then comparisons, 0 where there
    is no food: for each other agent and food how near they are to each other, and by how many steps the agent is nearer
    to the food than the other one, up to 8; for each two foods how near they are. A network finds it hard to build
    these from offsets, and who takes which food depends on them.
    """
    rows, far = observations.shape[0], GRID_SIZE - 1
    here = observations[:, 0:2]
    others = observations[:, 2 : 2 * agents].reshape(rows, -1, 2) - here[:, None]
    slots = observations[:, 2 * agents :].reshape(rows, -1, 3)
    filled = slots[:, :, 2:]
    foods = (slots[:, :, :2] - here[:, None]) * filled
    food_nearness, food_adjacent = _closeness(foods)
    food_nearness = food_nearness * filled
    food_features = jnp.concatenate([filled, foods / far, food_nearness, food_adjacent, jnp.sign(foods)], axis=-1)
    is_nearest = jnp.argmax(food_nearness, axis=1, keepdims=True) == jnp.arange(slots.shape[1])[None, :, None]

    there = filled[:, :, 0]
    theirs = _distance(foods[:, None] - others[:, :, None])  # [4, other agents, F]
    lead = jnp.clip((theirs - _distance(foods)[:, None]) / _FURTHEST_LEAD, -1, 1)
    first, second = np.triu_indices(slots.shape[1], 1)
    apart = NEARNESS_DECAY ** _distance(foods[:, first] - foods[:, second]) * there[:, first] * there[:, second]
    return jnp.concatenate(
        [
            here / far * 2 - 1,
            jnp.concatenate([others / far, *_closeness(others)], axis=-1).reshape(rows, -1),
            food_features.reshape(rows, -1),
            jnp.sum(jnp.where(is_nearest, food_features, 0.0), axis=1),
            (NEARNESS_DECAY**theirs * there[:, None]).reshape(rows, -1),
            (lead * there[:, None]).reshape(rows, -1),
            apart,
        ],
        axis=-1,
    )


def _distance(offset: jax.Array) -> jax.Array:
    return jnp.abs(offset).sum(axis=-1)


def _closeness(offset: jax.Array) -> tuple[jax.Array, jax.Array]:
    distance = _distance(offset)[..., None]
    return NEARNESS_DECAY**distance, (distance == 1).astype(jnp.float32)
