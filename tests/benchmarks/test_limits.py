"""The planner's plays are legal and as good as the bound; full sight shows everything; the parts of a loss add up."""

import jax
import numpy as np
import pytest
from helpers import quick_jit
from limits.planner import actions_of, best_play
from limits.sight import Sight, encode
from limits.study import Scores, limit_rows
from numpy_environment import NumpyGridWorld

from env_jax.gridworld.layouts import fixed_start
from env_jax.gridworld.observations import food_in_slot

# With the returns of env_jax's planner, which ignores collisions. Paths that are planned one after another conflict on
# layout 0 and on the last two starts, of which the last needs another of several equally good dealings.
STARTS = [
    *zip(map(fixed_start, range(6)), (2.1959, 2.3664, 2.4547, 2.6329, 2.2484, 2.2765), strict=True),
    (([(23, 1), (24, 2), (22, 0), (22, 2)], [(9, 10), (1, 20), (9, 20), (6, 2)]), 1.1336),
    (([(22, 1), (24, 2), (23, 2), (22, 0)], [(11, 9), (10, 22), (21, 17), (1, 20)]), 1.1663),
]


@pytest.mark.parametrize(("start", "bound"), STARTS)
def test_plays_are_legal_and_reach_the_bound(start, bound):
    play = best_play(*map(np.asarray, start), 0.95)
    environment = NumpyGridWorld(0)
    environment.reset()
    environment.agents, environment.foods = [[tuple(map(int, cell)) for cell in cells] for cells in start]
    total, terminated = 0.0, False
    for t, actions in enumerate(actions_of(play.paths)):
        if not terminated:
            _, rewards, terminated, _ = environment.step(actions.tolist())
            total += 0.95**t * rewards.sum()
    assert terminated
    assert total == pytest.approx(play.value, abs=1e-6)
    assert play.value == pytest.approx(play.bound) == pytest.approx(bound, abs=1e-4)


def test_full_sight_shows_agents_from_its_own_on_and_foods_until_they_are_gone():
    environment = Sight()
    state, time_step = quick_jit(environment.reset)(jax.random.key(0))
    row = np.asarray(time_step.observations)[2]
    assert row[:8].reshape(4, 2).tolist() == np.asarray(state.agent_positions)[[2, 3, 0, 1]].tolist()
    assert row[8:].reshape(4, 3)[:, :2].tolist() == state.food_positions.tolist()
    state = state.replace(agent_positions=state.food_positions)  # the next step collects them
    _, time_step = quick_jit(environment.step)(jax.random.key(1), state, np.zeros(4, int))
    assert not np.asarray(time_step.observations)[:, 8:].any()
    assert (environment.spec.observation_size, environment.spec.state_size) == (20, time_step.state.size)


def test_memory_knows_every_food_but_the_one_that_the_grid_hides_until_one_is_gone():
    environment = Sight(all_agents=False, all_foods=False, remembered=True)
    state, time_step = quick_jit(environment.reset)(jax.random.key(0))
    foods = np.asarray(time_step.observations)[:, 4:].reshape(4, 4, 3)
    assert [set(np.flatnonzero(row[:, 2])) for row in foods] == [
        {food_in_slot(4, agent, slot) for slot in range(3)} for agent in range(4)
    ]
    state = state.replace(food_present=state.food_present.at[1].set(False))
    _, time_step = quick_jit(environment.step)(jax.random.key(1), state, np.full(4, 5))
    foods = np.asarray(time_step.observations)[:, 4:].reshape(4, 4, 3)
    assert (foods[:, :, 2] == [1, 0, 1, 1]).all()
    assert (foods[:, [0, 2, 3], :2] == np.asarray(state.food_positions)[[0, 2, 3]]).all()


def test_with_the_grids_own_sight_the_networks_see_what_they_see_of_the_grid_and_comparisons():
    environment = Sight(all_agents=False, all_foods=False)

    def features(key):
        seen = [grid.reset(jax.random.clone(key))[1].observations for grid in (environment, environment.inner)]
        return environment.spec.encode_observations(seen[0]), environment.inner.spec.encode_observations(seen[1])

    ours, theirs = quick_jit(features)(jax.random.key(0))
    size = theirs.shape[1]
    np.testing.assert_allclose(ours[:, :size], theirs, rtol=1e-6)
    assert ours.shape == (4, size + 3 + 3 + 3)


def test_comparisons_of_one_view_by_hand():
    view = np.zeros((4, 13), np.float32)
    # At (5, 5), another agent at (8, 5), foods at (6, 5) and (8, 24), no third one.
    view[0] = [5, 5, 8, 5, 6, 5, 1, 8, 24, 1, 0, 0, 0]
    features = np.asarray(encode(2, view))[0]
    theirs, lead, apart = features[-9:-6], features[-6:-3], features[-3:]
    np.testing.assert_allclose(theirs, [0.95**2, 0.95**19, 0], rtol=1e-6)
    np.testing.assert_allclose(lead, [(2 - 1) / 8, (19 - 22) / 8, 0], rtol=1e-6)
    np.testing.assert_allclose(apart, [0.95 ** (2 + 19), 0, 0], rtol=1e-6)
    view[0, 8] = 5  # the second food at (8, 5): the other agent is on it, and 3 steps are far from the most
    view[0, 4] = 24  # the first at (24, 5), 19 steps from the agent and 16 from the other one
    np.testing.assert_allclose(np.asarray(encode(2, view))[0, -6:-3], [-3 / 8, -3 / 8, 0], rtol=1e-6)
    view[0, 2:4] = [24, 24]  # 19 steps from the first food and 35 from the second, which the agent reaches in 3
    np.testing.assert_allclose(np.asarray(encode(2, view))[0, -6:-3], [0, 1, 0], rtol=1e-6)


def test_parts_add_up_to_the_whole_loss():
    random = np.random.default_rng(0)
    bounds = random.uniform(2.0, 3.0, 30)
    names = ("best play within the rules", "full", "own")
    scores = Scores(bounds, {name: bounds * random.uniform(0.8, 1.0, 30) for name in names}, {})
    *parts, (_, whole) = limit_rows(scores, "own", "full")
    assert sum(part.value for _, part in parts) == pytest.approx(whole.value)
    assert whole.value == pytest.approx(1.0 - scores.returns["own"].sum() / bounds.sum())
