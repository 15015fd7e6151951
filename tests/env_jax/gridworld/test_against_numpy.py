"""Random situations, crowded ones most of all, played by `env_jax` and by the slow NumPy version side by side."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from numpy_gridworld import NumpyGridWorld
from situations import MAX_STEPS, episodes, starts

from env_jax import GridWorld25, State
from env_jax.gridworld.observations import observe

ENV = GridWorld25(max_steps=MAX_STEPS)
step = jax.jit(ENV.step)
jit_observe = jax.jit(observe)


def _state(oracle):
    return State(
        agent_positions=jnp.asarray(oracle.agents, jnp.int32),
        food_positions=jnp.asarray(oracle.foods, jnp.int32),
        food_present=jnp.asarray(oracle.present),
        step_count=jnp.asarray(oracle.step_count, jnp.int32),
    )


@settings(max_examples=300, deadline=None, derandomize=True)
@given(starts(), episodes)
def test_plays_like_the_numpy_version(oracle, joint_actions):
    state = _state(oracle)
    for joint_action in joint_actions:
        state, time_step = step(jax.random.key(0), state, np.asarray(joint_action, np.int32))
        observations, rewards, terminated, truncated = oracle.step(joint_action)
        np.testing.assert_array_equal(state.agent_positions, oracle.agents)
        np.testing.assert_array_equal(state.food_present, oracle.present)
        np.testing.assert_array_equal(time_step.observations, observations)
        np.testing.assert_array_equal(time_step.state, observations.reshape(-1))
        np.testing.assert_array_equal(time_step.rewards, rewards)
        assert (bool(time_step.terminated), bool(time_step.truncated)) == (terminated, truncated)
        assert state.step_count == oracle.step_count


@pytest.mark.parametrize("pattern", range(16))
def test_observes_like_the_numpy_version_with_every_choice_of_remaining_foods(pattern):
    rng = np.random.default_rng(pattern)
    present = [bool(pattern & (1 << food)) for food in range(4)]
    cells = rng.integers(0, 25, (8, 2))
    oracle = NumpyGridWorld([*cells[:4]], [*cells[4:]], present, 0, 200)
    seen = jit_observe(jnp.asarray(cells[:4], jnp.int32), jnp.asarray(cells[4:], jnp.int32), jnp.asarray(present))
    np.testing.assert_array_equal(seen, oracle.observe())
