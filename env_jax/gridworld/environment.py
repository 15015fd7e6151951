"""GridWorld25: four agents forage four foods on a 25 x 25 grid."""

from dataclasses import dataclass, field, replace

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from env_jax.gridworld import cells, dynamics, encoding, layouts, observations
from env_jax.gridworld.constants import ACTION_NAMES, NUM_ACTIONS, NUM_AGENTS, NUM_FOODS, OBSERVATION_SIZE
from env_jax.gridworld.oracle import best_return
from env_jax.gridworld.policies import greedy_nearest
from env_jax.gridworld.state import State
from env_jax.types import EnvSpec, TimeStep

MODES = ("fixed", "random")


@dataclass(frozen=True)
class GridWorld25:
    """The reference's GridWorld25v0 as pure functions. Hashable: a static argument of `jax.jit`."""

    mode: str = "fixed"  # "fixed": every episode has the same start; "random": a new start at every reset
    layout_seed: int = 1  # seed of the fixed start; unused in random mode
    max_steps: int = 200  # steps after which an unsolved episode is truncated
    _fixed_start: tuple[np.ndarray, np.ndarray] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check the arguments and draw the fixed start once."""
        if self.mode not in MODES:
            raise ValueError(f"mode must be one of {', '.join(MODES)}, not {self.mode!r}")
        if not _is_int(self.layout_seed) or self.layout_seed < 0:
            raise ValueError(f"layout_seed must be an integer >= 0, not {self.layout_seed!r}")
        if not _is_int(self.max_steps) or self.max_steps < 1:
            raise ValueError(f"max_steps must be an integer >= 1, not {self.max_steps!r}")
        object.__setattr__(self, "_fixed_start", layouts.fixed_start(self.layout_seed))

    @property
    def spec(self) -> EnvSpec:
        """Sizes, time limit, feature maps, best return and baseline of this environment."""
        return EnvSpec(
            name="GridWorld25v0",
            num_agents=NUM_AGENTS,
            num_actions=NUM_ACTIONS,
            observation_size=OBSERVATION_SIZE,
            state_size=NUM_AGENTS * OBSERVATION_SIZE,
            max_steps=self.max_steps,
            observation_dtype=jnp.uint8,
            masks_actions=False,
            time_limit_is_terminal=True,  # with a penalty that is part of the task
            encode_observations=encoding.encode_observations,
            state_from_observations=observations.state_from_observations,
            encode_state=encoding.encode_state,
            best_return=best_return,
            baseline_policy=greedy_nearest,
            baseline_name="greedy-nearest",
            episode_metrics=episode_metrics,
            success=success,
            agent_positions=agent_positions,
            action_names=ACTION_NAMES,
        )

    def reset(self, key: jax.Array) -> tuple[State, TimeStep]:
        """Start an episode. Fixed mode ignores the key."""
        return self.start_at(*(layouts.random_start(key) if self.mode == "random" else self._fixed_start))

    def start_at(self, agent_positions: ArrayLike, food_positions: ArrayLike) -> tuple[State, TimeStep]:
        """Start an episode with given cells (x, y), int32[4, 2] both: 8 different ones, each number 0..24.

        For a subclass whose `reset` draws other starts.
        """
        state = State(
            agent_positions=jnp.asarray(agent_positions, jnp.int32),
            food_positions=jnp.asarray(food_positions, jnp.int32),
            food_present=jnp.ones(NUM_FOODS, bool),
            step_count=jnp.zeros((), jnp.int32),
        )
        never = jnp.zeros((), bool)
        return state, _time_step(state, jnp.zeros(NUM_AGENTS), never, never)

    def step(self, key: jax.Array, state: State, actions: jax.Array) -> tuple[State, TimeStep]:
        """Advance one step with the joint action int32[4]; actions outside 0..5 stay. Ignores the key.

        Raises:
            ValueError: actions of another shape.
        """
        del key
        if jnp.shape(actions) != (NUM_AGENTS,):
            raise ValueError(f"actions must have the shape ({NUM_AGENTS},), not {jnp.shape(actions)}")
        agents = cells.pack(state.agent_positions)
        foods = jnp.where(state.food_present, cells.pack(state.food_positions), cells.NOWHERE)
        agents = dynamics.resolve_collisions(agents, dynamics.propose(agents, foods, actions))
        collected, taken = dynamics.collect(agents, foods)
        food_present = state.food_present & ~taken
        step_count = state.step_count + 1
        foods_left = food_present.sum(dtype=jnp.int32)
        terminated = foods_left == 0
        truncated = ~terminated & (step_count >= self.max_steps)
        penalty = jnp.where(truncated, 0.5 * foods_left.astype(jnp.float32), 0.0)  # for every agent
        state = replace(state, agent_positions=cells.unpack(agents), food_present=food_present, step_count=step_count)
        return state, _time_step(state, collected.astype(jnp.float32) - penalty, terminated, truncated)


def episode_metrics(state: State) -> dict[str, jax.Array]:
    """Return the metrics of a finished episode: foods collected, float32[], 0..4."""
    return {"foods_collected": (~state.food_present).sum(dtype=jnp.float32)}


def success(state: State) -> jax.Array:
    """Return whether all foods were collected, bool[]."""
    return ~jnp.any(state.food_present)


def agent_positions(state: State) -> jax.Array:
    """Return the cells of the agents, int32[4, 2]."""
    return state.agent_positions


def _time_step(state: State, rewards: jax.Array, terminated: jax.Array, truncated: jax.Array) -> TimeStep:
    views = observations.observe(state.agent_positions, state.food_positions, state.food_present)
    return TimeStep(
        observations=views,
        state=observations.state_from_observations(views),
        action_mask=jnp.ones((NUM_AGENTS, NUM_ACTIONS), bool),
        rewards=rewards,
        terminated=terminated,
        truncated=truncated,
    )


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
