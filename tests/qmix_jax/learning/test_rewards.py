"""Rewards as they are trained on: running statistics against NumPy's of all batches, and the loss that uses them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import SPEC, make_plain_loss, make_single_update, quick_jit, random_batch, randomize, small_config, uniform

from qmix_jax.learning.devices import AXIS
from qmix_jax.learning.learner import make_learner
from qmix_jax.learning.rewards import STANDARD_OFFSET, add_batch, init_statistics, standardise

BATCHES = np.random.default_rng(0).normal([100.0, -2.0], [3.0, 0.1], (5, 6, 4, 2)).astype(np.float32)  # [k, B, S, V]


def _statistics(batches):
    statistics = init_statistics(2)
    for batch in batches:
        statistics = add_batch(statistics, jnp.asarray(batch), num_devices=1)
    return statistics


@pytest.mark.parametrize("count", [1, 2, 5])
def test_statistics_are_those_of_all_batches_together(count):
    statistics = _statistics(BATCHES[:count])
    rewards = BATCHES[:count].astype(np.float64).reshape(-1, 2)
    assert statistics.batches == count
    np.testing.assert_allclose(statistics.mean, rewards.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(statistics.variance, rewards.var(axis=0), rtol=1e-2)  # of 0.01 beside a first 4
    expected = (BATCHES[0] - rewards.mean(axis=0)) / (rewards.std(axis=0) + STANDARD_OFFSET)
    np.testing.assert_allclose(standardise(jnp.asarray(BATCHES[0]), statistics, True), expected, rtol=1e-2, atol=1e-2)
    expected = BATCHES[0] / (np.sqrt(np.square(rewards).mean(axis=0)) + STANDARD_OFFSET)
    np.testing.assert_allclose(standardise(jnp.asarray(BATCHES[0]), statistics, False), expected, rtol=1e-4)


@pytest.mark.parametrize(("centred", "expected"), [(True, 0.0), (False, -1.0)])
def test_a_cost_that_never_differs_is_nothing_if_centred(centred, expected):
    statistics = _statistics(np.full((3, 6, 4, 2), -0.7, np.float32))
    np.testing.assert_allclose(standardise(jnp.full((1, 1, 2), -0.7), statistics, centred), expected, atol=1e-2)


def test_devices_agree_on_the_statistics_of_the_whole_batch():
    before = _statistics(BATCHES[:2])
    whole = add_batch(before, jnp.asarray(BATCHES[2]), num_devices=1)
    shares = jnp.asarray(BATCHES[2]).reshape(2, 3, 4, 2)
    agreed = jax.vmap(lambda share: add_batch(before, share, num_devices=2), axis_name=AXIS)(shares)
    for device in range(2):
        jax.tree.map(lambda x, y, i=device: np.testing.assert_allclose(x[i], y, rtol=1e-5), agreed, whole)


def test_vmapped_seeds_have_statistics_of_their_own():
    apart = jax.vmap(lambda batch: add_batch(init_statistics(2), batch, num_devices=1))(jnp.asarray(BATCHES[:2]))
    for seed in range(2):
        own = _statistics(BATCHES[seed : seed + 1])
        jax.tree.map(lambda x, y, i=seed: np.testing.assert_allclose(x[i], y, rtol=1e-5), apart, own)


@pytest.mark.parametrize(
    "settings",
    [
        {"algorithm": "madqn", "n_step": 2},
        {"algorithm": "vdn", "target": "q_lambda", "sequence_length": 3, "reward_scale": 2.0, "centre_rewards": False},
    ],
    ids=str,
)
def test_the_loss_is_that_of_rewards_standardised_by_all_drawn_so_far(settings):
    """With NumPy's statistics; the loss itself has its own test. A batch that cannot be trained on is not counted."""
    config = small_config(encoding="raw", hidden_sizes=(4,), standardise_rewards=True, **settings)
    learner, plain = make_learner(config, SPEC), quick_jit(make_plain_loss(config))
    update, shapes = quick_jit(make_single_update(learner)), jax.eval_shape(learner.init, jax.random.key(0))
    state = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    state = state.replace(params=randomize(state.params, 1), target_params=randomize(state.params, 2))
    seen = []
    for seed in range(3):
        batch = random_batch(np.random.default_rng(seed), 8, config.sample_length)
        batch = batch.replace(done=batch.done.at[::3, 0].set(True))
        view = np.asarray(batch.rewards[:, :-1], np.float64)
        if config.algorithm == "vdn":  # one value: the sum, as if the first agent got all of it
            view = np.stack([view.sum(axis=-1), np.zeros(view.shape[:-1])], axis=-1)
        seen.append(config.reward_scale * view.reshape(-1, 2))
        together = np.concatenate(seen)
        centre = together.mean(axis=0) if config.centre_rewards else 0.0
        spread = np.sqrt(np.square(together - centre).mean(axis=0))
        scaled = (config.reward_scale * view - centre) / (spread + STANDARD_OFFSET)
        scaled = np.append(scaled, np.zeros((8, 1, 2)), axis=1) / config.reward_scale  # the last step's is not read
        expected, _ = plain(state.params, state.target_params, batch.replace(rewards=jnp.asarray(scaled, jnp.float32)))

        poisoned = batch.replace(rewards=batch.rewards.at[0, 0].set(jnp.nan))
        skipped, *_ = update(state, uniform(poisoned))
        jax.tree.map(np.testing.assert_array_equal, skipped.rewards, state.rewards)
        assert skipped.faults.skipped == 1

        state, metrics, _ = update(state, uniform(batch))
        values = 2 if config.algorithm == "madqn" else 1
        assert metrics.loss * values == pytest.approx(float(expected), rel=1e-3)
        np.testing.assert_allclose(state.rewards.mean, together.mean(axis=0)[:values], atol=1e-5)
        np.testing.assert_allclose(state.rewards.variance, together.var(axis=0)[:values], rtol=1e-4)


def test_without_it_nothing_is_counted():
    assert jax.eval_shape(make_learner(small_config(), SPEC).init, jax.random.key(0)).rewards is None
