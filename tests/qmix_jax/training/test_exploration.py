"""The exploration rate's line, and actions: allowed ones only, uniform at epsilon 1, greedy at epsilon 0."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from qmix_jax.training.exploration import (
    decay_shares,
    epsilon_greedy_action,
    extended_action,
    greedy_action,
    linear_epsilon,
    random_action,
    repeat_length,
)
from qmix_jax.types import Exploration

one_action = jax.jit(epsilon_greedy_action)
many_actions = jax.jit(jax.vmap(epsilon_greedy_action, in_axes=(0, None, None, None)))
BELOW_ONE = float(np.nextafter(np.float32(1), np.float32(0)))


@pytest.mark.parametrize(
    ("env_steps", "epsilon"),
    [(0, 1.0), (250, 0.8), (500, 0.6), (1000, 0.2), (1001, 0.2), (2**31 - 1, 0.2)],
)
def test_epsilon_falls_in_a_line_and_stays(env_steps, epsilon):
    value = linear_epsilon(jnp.int32(env_steps), 1.0, 0.2, 1000)
    assert value.dtype == jnp.float32
    assert value == pytest.approx(epsilon, rel=1e-6)


@pytest.mark.parametrize("spread", [0.8, 1.0])
def test_decays_of_every_agent_are_evenly_spread_and_mixed_over_the_environments(spread):
    shares = np.asarray(decay_shares(500, 4, spread))
    expected = 1 - spread * (np.arange(500) + 0.5) / 500
    for agent in range(4):
        np.testing.assert_allclose(np.sort(shares[:, agent])[::-1], expected, rtol=1e-5)
    assert (shares > 0).all()
    correlation = np.corrcoef(np.concatenate([shares, np.arange(500)[:, None]], axis=1).T)
    assert np.abs(correlation - np.eye(5)).max() < 0.15


def test_decays_without_a_spread_are_all_of_one_length():
    np.testing.assert_array_equal(decay_shares(3, 2, 0.0), np.ones((3, 2)))


def test_epsilon_may_rise_or_stay():
    assert linear_epsilon(jnp.int32(50), 0.0, 1.0, 100) == 0.5
    assert linear_epsilon(jnp.int32(50), 0.3, 0.3, 100) == pytest.approx(0.3)


masks = st.lists(st.booleans(), min_size=6, max_size=6).filter(any)
uniforms = st.one_of(st.floats(0, BELOW_ONE, width=32), st.sampled_from((0.0, BELOW_ONE)))
values = st.lists(st.floats(-1e6, 1e6, width=32), min_size=6, max_size=6)


@settings(deadline=None, max_examples=150)
@given(uniforms, values, masks, st.one_of(st.floats(0, 1, width=32), st.sampled_from((0.0, 1e-9, 0.5, 1.0))))
def test_forbidden_actions_are_never_taken(uniform, q_values, mask, epsilon):
    action = one_action(jnp.float32(uniform), jnp.array(q_values, jnp.float32), jnp.array(mask), jnp.float32(epsilon))
    assert action.dtype == jnp.int32
    assert mask[int(action)]


@pytest.mark.parametrize("allowed", [(0, 1, 2, 3, 4, 5), (5,), (0,), (1, 3, 4)])
@pytest.mark.parametrize("epsilon", [1.0, 0.1])
def test_exploring_is_uniform_over_allowed_actions(allowed, epsilon):
    count = 20_000
    mask = jnp.zeros(6, bool).at[jnp.array(allowed)].set(True)
    # Uniform numbers below epsilon: those that explore.
    uniform = epsilon * jax.random.uniform(jax.random.key(0), (count,))
    actions = many_actions(uniform, jnp.arange(6.0), mask, jnp.float32(epsilon))
    counts = np.bincount(actions, minlength=6)
    assert set(np.flatnonzero(counts)) == set(allowed)
    assert chisquare(counts[list(allowed)]).pvalue > 1e-3 if len(allowed) > 1 else counts[allowed[0]] == count


def test_the_share_of_exploring_actions_is_epsilon():
    """Of five allowed actions one is greedy, so the greedy one is taken with 1 - epsilon + epsilon / 5."""
    uniform = jax.random.uniform(jax.random.key(1), (20_000,))
    actions = many_actions(uniform, jnp.array([9.0, 0, 1, 2, 3, 4]), jnp.array([False] + [True] * 5), jnp.float32(0.3))
    counts = np.bincount(actions, minlength=6)
    expected = 20_000 * np.array([0.06] * 4 + [0.7 + 0.06])
    assert counts[0] == 0
    assert chisquare(counts[1:], expected).pvalue > 1e-3


@pytest.mark.parametrize("uniform", [0.0, 0.5, BELOW_ONE])
def test_epsilon_zero_is_greedy(uniform):
    mask = jnp.array([True, True, False, True])
    assert one_action(jnp.float32(uniform), jnp.array([0.0, 2.0, 9.0, 1.0]), mask, jnp.float32(0)) == 1


def test_the_first_of_equal_values_wins():
    assert greedy_action(jnp.array([1.0, 3.0, 3.0]), jnp.ones(3, bool)) == 1
    assert greedy_action(jnp.array([3.0, 3.0, 3.0]), jnp.array([False, False, True])) == 2
    assert greedy_action(jnp.array([-5.0, -1e30, 7.0]), jnp.array([False, True, False])) == 1


def test_a_random_action_by_its_number():
    """Four allowed actions share [0, 1) in quarters, in order."""
    mask = jnp.array([False, True, True, False, True, True])
    for uniform, action in [(0.0, 1), (0.24, 1), (0.25, 2), (0.5, 4), (0.74, 4), (0.75, 5), (BELOW_ONE, 5)]:
        assert random_action(jnp.float32(uniform), mask) == action


def test_lengths_of_repeats_fall_with_the_square():
    lengths = jax.vmap(repeat_length, in_axes=(0, None))(jax.random.uniform(jax.random.key(0), (20_000,)), 4)
    expected = np.array([144, 36, 16, 9]) / 205
    assert chisquare(np.bincount(lengths, minlength=5)[1:], 20_000 * expected).pvalue > 1e-3
    assert repeat_length(jnp.float32(BELOW_ONE), 1) == 1
    assert [int(repeat_length(jnp.float32(u), 4)) for u in (0.0, BELOW_ONE)] == [1, 4]


def extended(uniforms, action, remaining, *, epsilon=0.5, mask=(True, True, True), longest=4):
    """One agent whose greedy action is 2; returns (action, action held, steps remaining)."""
    held = Exploration(jnp.int32(action), jnp.int32(remaining))
    values, allowed = jnp.array([0.0, 1.0, 2.0]), jnp.array(mask)
    held, chosen = extended_action(jnp.float32(uniforms), held, values, allowed, jnp.float32(epsilon), longest)
    return int(chosen), int(held.action), int(held.remaining)


def test_a_random_action_is_held_until_its_time_is_over():
    exploring, greedily, four, one = 0.01, 0.99, BELOW_ONE, 0.0  # of actions: 0.01 / 0.5 is in the first third
    assert extended([exploring, four], 1, 0) == (0, 0, 3)
    assert extended([greedily, one], 0, 3) == (0, 0, 2)  # whatever is drawn meanwhile
    assert extended([exploring, four], 1, 1) == (1, 1, 0)
    assert extended([greedily, four], 0, 0) == (2, 2, 0)  # a greedy action is not repeated
    assert extended([exploring, four], 1, 0, longest=1) == (0, 0, 0)


def test_a_held_action_that_is_forbidden_now_is_dropped():
    assert extended([0.99, 0.0], 0, 3, mask=(False, True, True)) == (2, 2, 0)
    assert extended([0.01, BELOW_ONE], 0, 3, mask=(False, True, True)) == (1, 1, 3)
