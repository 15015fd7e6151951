"""n-step targets and lambda returns against hand-computed numbers, and against a slow loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmix_jax.learning.targets import lambda_returns, n_step_return, n_step_targets

jit_return = jax.jit(n_step_return)
jit_targets = jax.jit(n_step_targets, static_argnums=3)
jit_lambda_returns = jax.jit(lambda_returns)


def _target(rewards, done, value, gamma):
    values = jnp.array([value], jnp.float32)
    return float(jit_targets(jnp.array(rewards, jnp.float32), jnp.array(done), values, len(rewards), gamma)[0])


@pytest.mark.parametrize(
    ("done", "target", "discount"),
    [
        # Rewards 1, 10, 100; gamma 1/2; the value after the window is 1000.
        ((False, False, False), 1 + 10 / 2 + 100 / 4 + 1000 / 8, 1 / 8),
        ((False, False, True), 1 + 10 / 2 + 100 / 4, 0),  # the last step's own end takes away the bootstrap
        ((False, True, False), 1 + 10 / 2, 0),  # the third reward is another episode's
        ((True, False, False), 1, 0),  # so are the second and the third
        ((True, True, True), 1, 0),
        ((False, True, True), 1 + 10 / 2, 0),
        ((True, False, True), 1, 0),
    ],
)
def test_an_end_cuts_off_what_follows_it(done, target, discount):
    assert _target((1.0, 10.0, 100.0), done, 1000.0, 0.5) == target
    rewards, bootstrap = jit_return(jnp.array([1.0, 10.0, 100.0]), jnp.array(done), 0.5)
    assert (rewards, bootstrap) == (target - 1000 * discount, discount)


@pytest.mark.parametrize(
    ("done", "cut", "target"),
    [
        # As above; here the value is that of the final step of the first episode.
        ((False, False, False), (False, False, False), 1 + 10 / 2 + 100 / 4 + 1000 / 8),
        ((False, False, True), (False, False, True), 1 + 10 / 2 + 100 / 4 + 1000 / 8),
        ((False, True, False), (False, True, False), 1 + 10 / 2 + 1000 / 4),
        ((True, False, False), (True, False, False), 1 + 1000 / 2),
        ((False, True, True), (False, False, True), 1 + 10 / 2),  # the second end is another episode's
        ((False, True, True), (False, True, True), 1 + 10 / 2 + 1000 / 4),
        ((True, True, True), (False, True, True), 1),
    ],
)
def test_a_truncation_to_bootstrap_from_ends_the_rewards_and_not_the_value(done, cut, target):
    rewards, value = jnp.array([1.0, 10.0, 100.0]), jnp.array([1000.0])
    assert jit_targets(rewards, jnp.array(done), value, 3, 0.5, jnp.array(cut))[0] == target


def test_lambda_returns_go_on_with_the_value_of_a_final_step():
    rewards, values = jnp.array([1.0, 2.0, 4.0]), jnp.array([10.0, 20.0, 30.0])
    cut = jnp.array([False, True, False])
    last, middle = 4 + 0.5 * 30, 2 + 0.5 * 20  # whatever lambda, nothing of the next episode
    first = 1 + 0.5 * (0.5 * 10 + 0.5 * middle)
    np.testing.assert_array_equal(jit_lambda_returns(rewards, cut, values, 0.5, 0.5, cut), [first, middle, last])


def test_one_step():
    assert _target((3.0,), (False,), 8.0, 0.75) == 3 + 0.75 * 8
    assert _target((3.0,), (True,), 8.0, 0.75) == 3


@pytest.mark.parametrize("n", range(1, 6))
def test_the_reward_of_the_ending_step_counts(n):
    done = np.arange(n) == n - 1
    assert _target([0.0] * (n - 1) + [1.0], done, 99.0, 0.5) == 0.5 ** (n - 1)


def test_discounts_of_zero_and_one():
    assert _target((1.0, 2.0, 4.0), (False, False, False), 8.0, 1.0) == 15
    assert _target((1.0, 2.0, 4.0), (False, True, False), 8.0, 1.0) == 3
    assert _target((1.0, 2.0, 4.0), (False, False, False), 8.0, 0.0) == 1


def _slow_target(rewards, done, value, gamma):
    target, weight = 0.0, 1.0
    for reward, ended in zip(rewards, done, strict=True):
        target += weight * reward
        weight *= gamma
        if ended:
            return target
    return target + weight * value


steps = st.lists(st.tuples(st.floats(-10, 10, width=32), st.booleans()), min_size=1, max_size=6)


@settings(deadline=None, max_examples=100)
@given(steps, st.floats(-100, 100, width=32), st.sampled_from((0.0, 0.5, 0.95, 1.0)))
def test_against_a_slow_loop(steps, value, gamma):
    rewards, done = zip(*steps, strict=True)
    expected = _slow_target(rewards, done, value, gamma)
    assert _target(rewards, done, value, gamma) == pytest.approx(expected, rel=1e-5, abs=1e-4)


def test_successive_windows_overlap():
    """Two steps each: the end belongs to the second window's second step and to the third's first."""
    rewards, done, values = jnp.array([1.0, 2.0, 4.0, 8.0]), jnp.array([False, False, True, False]), jnp.full(3, 100.0)
    np.testing.assert_array_equal(jit_targets(rewards, done, values, 2, 0.5), [1 + 2 / 2 + 100 / 4, 2 + 4 / 2, 4])


def test_lambda_returns_by_hand():
    """Rewards 1, 2, 4, values after them 10, 20, 40, gamma and lambda 1/2."""
    rewards, values = jnp.array([1.0, 2.0, 4.0]), jnp.array([10.0, 20.0, 40.0])
    last = 4 + 0.5 * 40
    middle = 2 + 0.5 * (0.5 * 20 + 0.5 * last)
    first = 1 + 0.5 * (0.5 * 10 + 0.5 * middle)
    never = jnp.zeros(3, bool)
    np.testing.assert_array_equal(jit_lambda_returns(rewards, never, values, 0.5, 0.5), [first, middle, last])
    ended = jnp.array([False, True, False])
    np.testing.assert_array_equal(
        jit_lambda_returns(rewards, ended, values, 0.5, 0.5), [1 + 0.5 * (0.5 * 10 + 0.5 * 2), 2, last]
    )


@settings(deadline=None, max_examples=100)
@given(steps, st.integers(0, 2**32 - 1), st.sampled_from((0.0, 0.9, 1.0)), st.sampled_from((0.0, 0.3, 1.0)))
def test_lambda_returns_are_mixtures_of_n_step_targets(steps, seed, gamma, lambda_):
    """The definition, forwards: sum over n of (1 - lambda) lambda^(n - 1) y^(n), and the rest for the longest."""
    rewards, done = (np.array(column) for column in zip(*steps, strict=True))
    values = np.random.default_rng(seed).normal(0, 10, len(steps)).astype(np.float32)

    def mixture(t):
        longest = len(steps) - t
        total = 0.0
        for n in range(1, longest + 1):
            weight = lambda_ ** (n - 1) * (1 - lambda_ if n < longest else 1.0)
            total += weight * _slow_target(rewards[t : t + n], done[t : t + n], values[t + n - 1], gamma)
        return total

    found = jit_lambda_returns(jnp.asarray(rewards, jnp.float32), jnp.asarray(done), values, gamma, lambda_)
    np.testing.assert_allclose(found, [mixture(t) for t in range(len(steps))], rtol=1e-4, atol=1e-3)


def test_wrong_types_are_refused():
    rewards = jnp.zeros(2)
    for done in (jnp.zeros(2), jnp.zeros(3, bool), jnp.zeros((2, 1), bool)):
        with pytest.raises(AssertionError):
            n_step_return(rewards, done, 0.9)
    with pytest.raises(AssertionError):
        n_step_targets(rewards, jnp.zeros(2, bool), jnp.zeros(2), 2, 0.9)
    with pytest.raises(AssertionError):
        lambda_returns(rewards, jnp.zeros(2, bool), jnp.zeros(1), 0.9, 0.5)
