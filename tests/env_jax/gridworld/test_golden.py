"""Recorded episodes and layouts of the reference: everything must be equal, exactly."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from env_jax import GridWorld25, State
from env_jax.gridworld.layouts import fixed_start
from env_jax.gridworld.observations import observe

DATA = Path(__file__).resolve().parents[2] / "data"
EPISODES = dict(np.load(DATA / "episodes.npz"))
KINDS = ("random", "fixed", "crowded", "corner")


@pytest.fixture(scope="module")
def replay():
    """Step a recorded start with padded recorded actions; one compilation for all episodes of a time limit."""

    def run(max_steps, start, actions):
        env = GridWorld25(max_steps=max_steps)
        key = jax.random.key(0)
        return jax.lax.scan(lambda state, action: _record(*env.step(key, state, action)), start, actions)[1]

    return jax.jit(run, static_argnums=0)


def _record(state, time_step):
    return state, (state, time_step)


@pytest.mark.parametrize("index", range(len(EPISODES["episodes"])))
def test_replays_a_recorded_episode_exactly(index, replay):
    first, end, _, max_steps, _ = EPISODES["episodes"][index]
    rows = {name: array[first:end] for name, array in EPISODES.items() if name != "episodes"}
    start = State(
        agent_positions=jnp.asarray(rows["agent_positions"][0], jnp.int32),
        food_positions=jnp.asarray(rows["food_positions"][0], jnp.int32),
        food_present=jnp.asarray(rows["food_present"][0]),
        step_count=jnp.zeros((), jnp.int32),
    )
    np.testing.assert_array_equal(
        observe(start.agent_positions, start.food_positions, start.food_present), rows["observations"][0]
    )

    steps = end - first - 1
    actions = np.zeros((max_steps, 4), np.int32)  # padded to one length; the rows past the end are not looked at
    actions[:steps] = rows["actions"][1:]
    states, time_steps = jax.tree.map(lambda x: np.asarray(x)[:steps], replay(int(max_steps), start, actions))
    for name in ("agent_positions", "food_positions", "food_present"):
        np.testing.assert_array_equal(getattr(states, name), rows[name][1:], err_msg=name)
    for name in ("observations", "rewards", "terminated", "truncated"):
        np.testing.assert_array_equal(getattr(time_steps, name), rows[name][1:], err_msg=name)
    np.testing.assert_array_equal(time_steps.state, rows["observations"][1:].reshape(steps, 72))
    np.testing.assert_array_equal(states.step_count, np.arange(1, steps + 1))


def test_the_recordings_cover_all_kinds_and_stacked_agents():
    assert set(EPISODES["episodes"][:, 4]) == set(range(len(KINDS)))
    agents = EPISODES["agent_positions"].astype(int)
    cells = np.sort(agents[..., 1] * 25 + agents[..., 0], axis=1)
    assert (np.diff(cells, axis=1) == 0).any(axis=1).sum() == 454


def test_fixed_starts_are_the_references_seed_for_seed():
    layouts = np.load(DATA / "layouts.npz")
    for seed, cells in zip(layouts["seeds"], layouts["cells"], strict=True):
        np.testing.assert_array_equal(np.concatenate(fixed_start(int(seed))), cells)
