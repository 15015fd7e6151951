"""The wrapper that shows agents what they did last: the environment below is untouched, the number is exact."""

from dataclasses import replace
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from env_jax import GridWorld25, LastAction
from env_jax.types import EnvSpec

grid = GridWorld25(mode="random", max_steps=3)
env = LastAction(grid)
ACTIONS = jnp.array([[0, 5, 2, 3], [1, 1, 4, 0], [5, 4, 3, 2]], jnp.int32)


@pytest.fixture(scope="module")
def episodes():
    """The same episode in the bare and in the wrapped environment: two lists of time steps."""

    def key():
        return jax.random.key(3)

    bare, wrapped = grid.reset(key()), env.reset(key())
    pairs = [(bare, wrapped)]
    for actions in ACTIONS:
        bare, wrapped = grid.step(key(), bare[0], actions), env.step(key(), wrapped[0], actions)
        pairs.append((bare, wrapped))
    return pairs


def test_the_world_goes_on_as_before(episodes):
    for (bare_state, bare), (state, wrapped) in episodes:
        jax.tree.map(np.testing.assert_array_equal, bare_state, state)
        for name in ("rewards", "terminated", "truncated", "action_mask"):
            np.testing.assert_array_equal(getattr(bare, name), getattr(wrapped, name))
        np.testing.assert_array_equal(wrapped.observations[:, :18], bare.observations)
        np.testing.assert_array_equal(wrapped.state[:72], bare.state)


def numbers_shown(episodes):
    """What each agent should see of itself: 0 after a reset, else 1 + action, and 6 more where it did not move."""
    positions = [np.asarray(state.agent_positions) for (state, _), _ in episodes]
    still = [(before == after).all(axis=1) for before, after in pairwise(positions)]
    return [np.zeros(4, int), *(1 + np.asarray(ACTIONS) + 6 * np.array(still))]


def test_each_agent_sees_its_own_last_action_and_whether_it_moved(episodes):
    numbers = numbers_shown(episodes)
    assert {number > 6 for number in numbers[1]} == {True, False}
    for (_, (_, wrapped)), expected in zip(episodes, numbers, strict=True):
        np.testing.assert_array_equal(wrapped.observations[:, 18], expected)
        np.testing.assert_array_equal(wrapped.state[72:], expected)


def test_the_spec_tells_the_new_sizes(episodes):
    spec = env.spec
    (_, (_, first)), *_, (_, (final, last)) = episodes
    assert (spec.observation_size, spec.state_size) == (19, 76)
    assert first.observations.shape == (4, 19)
    assert first.state.shape == (76,)
    np.testing.assert_array_equal(spec.state_from_observations(last.observations), last.state)
    assert spec.best_return(final, jnp.float32(0.95)) == grid.spec.best_return(final, jnp.float32(0.95))
    baseline = spec.baseline_policy(jax.random.key(0), last.observations)
    np.testing.assert_array_equal(baseline, grid.spec.baseline_policy(jax.random.key(0), last.observations[:, :18]))


def test_feature_maps_make_it_one_hot(episodes):
    bare = grid.spec
    for (_, (_, shown)), numbers in zip(episodes, numbers_shown(episodes), strict=True):
        one_hot = np.eye(13)[numbers][:, 1:]
        features = env.spec.encode_observations(shown.observations)
        np.testing.assert_array_equal(features[:, 34:], one_hot)
        np.testing.assert_array_equal(features[:, :34], bare.encode_observations(shown.observations[:, :18]))
        state = env.spec.encode_state(shown.state)
        np.testing.assert_array_equal(state[136:], one_hot.ravel())
        np.testing.assert_array_equal(state[:136], bare.encode_state(shown.state[:72]))


class Plain:
    """A spec without any of the optional parts."""

    spec = EnvSpec("plain", 2, 3, 2, 5, 10, jnp.float32)


def test_a_world_without_feature_maps_gets_the_one_hot_alone():
    spec = LastAction(Plain()).spec
    assert spec.state_from_observations is None
    assert spec.baseline_policy is None
    np.testing.assert_array_equal(
        spec.encode_observations(jnp.array([[0.5, 7.0, 0.0], [1.0, 2.0, 3.0]])), [[0.5, 7, 0, 0, 0], [1, 2, 0, 0, 1]]
    )
    state = jnp.arange(7.0).at[-2:].set(jnp.array([1.0, 0.0]))
    np.testing.assert_array_equal(spec.encode_state(state), [0, 1, 2, 3, 4, 1, 0, 0, 0, 0, 0])


def test_a_dtype_that_cannot_hold_the_actions_is_refused():
    plain = Plain()
    plain.spec = replace(Plain.spec, observation_dtype=jnp.uint8, num_actions=256)
    with pytest.raises(ValueError, match="plain stores observations as uint8, which cannot hold 256 actions"):
        LastAction(plain).spec  # noqa: B018


def test_it_can_be_a_static_argument():
    assert hash(env) == hash(LastAction(GridWorld25(mode="random", max_steps=3)))
