"""n-step returns and TD targets against hand-computed numbers, and against a slow loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmix_jax.targets import n_step_return, td_target

jit_return = jax.jit(n_step_return, static_argnums=2)
jit_target = jax.jit(td_target, static_argnums=3)


def _target(rewards, done, value, gamma):
    return float(jit_target(jnp.array(rewards, jnp.float32), jnp.array(done), jnp.float32(value), gamma))


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


steps = st.lists(st.tuples(st.floats(-10, 10, width=32), st.booleans()), min_size=1, max_size=6)


@settings(deadline=None, max_examples=100)
@given(steps, st.floats(-100, 100, width=32), st.sampled_from((0.0, 0.5, 0.95, 1.0)))
def test_against_a_slow_loop(steps, value, gamma):
    rewards, done = zip(*steps, strict=True)
    expected, weight = 0.0, 1.0
    for reward, ended in steps:
        expected += weight * reward
        weight *= gamma
        if ended:
            weight = 0.0
            break
    assert _target(rewards, done, value, gamma) == pytest.approx(expected + weight * value, rel=1e-5, abs=1e-4)


def test_wrong_types_are_refused():
    rewards = jnp.zeros(2)
    for done in (jnp.zeros(2), jnp.zeros(3, bool), jnp.zeros((2, 1), bool)):
        with pytest.raises(AssertionError):
            n_step_return(rewards, done, 0.9)
    with pytest.raises(AssertionError):
        td_target(rewards, jnp.zeros(2, bool), jnp.zeros(1), 0.9)
