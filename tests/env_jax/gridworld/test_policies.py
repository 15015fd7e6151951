"""The baselines reach the reference's figures, and never more than the best possible return."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pictures import parse

from env_jax import GridWorld25, best_return, greedy_nearest, random_policy
from env_jax.gridworld.observations import observe

DISCOUNT = 0.95
jit_greedy_nearest = jax.jit(greedy_nearest)
STAY, UP, DOWN, LEFT, RIGHT, COLLECT = range(6)


class Episodes(NamedTuple):
    returns: np.ndarray
    best: np.ndarray
    solved: np.ndarray
    lengths: np.ndarray
    foods: np.ndarray


def play(env, policy, key, count):
    """Play `count` whole episodes."""

    def step(carry, step_key):
        state, time_step, returns, weight, done, lengths = carry
        actions = jax.vmap(policy)(jax.random.split(step_key, count), time_step.observations)
        state, time_step = jax.vmap(env.step, in_axes=(None, 0, 0))(jax.random.key(0), state, actions)
        returns += jnp.where(done, 0.0, weight * time_step.rewards.sum(axis=1))
        lengths += jnp.where(done, 0, 1)
        solved_now = time_step.terminated & ~done
        done = done | time_step.terminated | time_step.truncated
        return (state, time_step, returns, weight * DISCOUNT, done, lengths), (solved_now, state.food_present)

    reset_key, play_key = jax.random.split(key)
    state, time_step = jax.vmap(env.reset)(jax.random.split(reset_key, count))
    best = jax.vmap(best_return, in_axes=(0, None))(state, DISCOUNT)
    carry = (state, time_step, jnp.zeros(count), jnp.ones(()), jnp.zeros(count, bool), jnp.zeros(count, jnp.int32))
    carry, (solved, present) = jax.lax.scan(step, carry, jax.random.split(play_key, env.max_steps))
    return Episodes(carry[2], best, solved.any(axis=0), carry[5], 4 - present[-1].sum(axis=1))


def _play(env, policy, count):
    episodes = jax.jit(play, static_argnums=(0, 1, 3))(env, policy, jax.random.key(0), count)
    return Episodes(*map(np.asarray, episodes))


def _within(sample, figure, figure_count):
    """Three and a half standard errors of the difference between our mean and the reference's."""
    error = sample.std() * np.sqrt(1 / len(sample) + 1 / figure_count)
    return abs(sample.mean() - figure) < 3.5 * error


@pytest.fixture(scope="module")
def greedy():
    return _play(GridWorld25("random"), greedy_nearest, 4000)


def test_greedy_nearest_reaches_the_references_figures(greedy):
    assert _within(greedy.returns, 2.355, 1000)
    assert _within(greedy.best, 2.655, 1000)
    assert _within(greedy.returns / greedy.best.mean(), 0.887, 1000)
    assert _within(greedy.solved, 0.927, 1000)
    assert _within(greedy.lengths, 37.8, 1000)


def test_no_episode_beats_the_best_possible_return(greedy):
    assert (greedy.returns <= greedy.best + 1e-5).all()
    assert np.isclose(greedy.returns, greedy.best, rtol=1e-6).any()  # and some reach it


def test_the_random_policy_reaches_the_references_figures():
    episodes = _play(GridWorld25(layout_seed=1), random_policy, 2000)
    assert _within(episodes.returns, 0.050, 300)
    assert episodes.returns.std() == pytest.approx(0.108, abs=0.025)
    assert _within(episodes.foods, 1.22, 300)


@pytest.mark.parametrize(
    ("drawing", "action"),
    [
        ("A . . 1", RIGHT),
        ("1 . . A", LEFT),
        (". A\n. .\n1 .", DOWN),  # the longer axis first
        (". . 1\nA . .", RIGHT),
        (". 1\nA .", RIGHT),  # x first on ties
        (". . 1\n. . .\nA 2 .", RIGHT),  # the nearer food
        ("1 . A . 2", LEFT),  # the lower slot on ties: food 1
        ("A . .", STAY),  # nothing to see
    ],
)
def test_greedy_nearest_walks(drawing, action):
    state = parse(drawing)
    observations = observe(state.agent_positions, state.food_positions, state.food_present)
    assert jit_greedy_nearest(jax.random.key(0), observations, 0.0)[0] == action


def test_epsilon_one_is_the_random_policy():
    observations = jnp.zeros((4, 18))
    for policy in (random_policy, lambda key, seen: greedy_nearest(key, seen, epsilon=1.0)):
        keys = jax.random.split(jax.random.key(1), 3000)
        actions = np.asarray(jax.jit(jax.vmap(policy, in_axes=(0, None)))(keys, observations))
        assert actions.shape == (3000, 4)
        assert actions.dtype == np.int32
        np.testing.assert_allclose(np.bincount(actions.reshape(-1), minlength=6) / 12000, 1 / 6, atol=0.015)
