"""The central value network: its loss against slow NumPy, and agents that never notice it."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import SPEC, make_single_update, numpy_central, quick_jit, random_batch, randomize, small_config, uniform

from qmix_jax.learning.batch import prepare
from qmix_jax.learning.central_value import ValueNetwork, central_loss
from qmix_jax.learning.learner import make_learner
from qmix_jax.networks.views import make_views
from qmix_jax.types import Sample

BATCH = 6


def _config(**settings):
    """Prioritised replay's weights, and gradients of both kinds that are clipped."""
    return small_config(
        encoding="raw", hidden_sizes=(8,), central_sizes=(7, 5), gamma=0.9, max_grad_norm=0.1, lr=0.01, **settings
    )


def _sample(seed):
    generator = np.random.default_rng(seed)
    batch = random_batch(generator, BATCH, 2)
    probabilities = jnp.asarray(generator.random(BATCH) + 0.1, jnp.float32)
    return Sample(batch.replace(done=batch.done.at[::3, 0].set(True)), jnp.arange(BATCH), probabilities)


@pytest.fixture(scope="module")
def updates():
    """Four updates without and with the network, compiled as a run compiles them: states, metrics, priorities."""
    histories = []
    for central_value in (False, True):
        learner = make_learner(_config(n_step=1, algorithm="madqn", central_value=central_value), SPEC)
        update = jax.jit(make_single_update(learner))
        history = [(quick_jit(learner.init)(jax.random.key(0)), None, None)]
        for seed in range(4):
            history.append(update(history[-1][0], _sample(seed)))
        histories.append(history)
    return (*histories, update)


def _assert_same_bits(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_agents_do_not_notice_it(updates):
    without, with_it, _ = updates
    for (state, metrics, priorities), (other, other_metrics, other_priorities) in zip(without, with_it, strict=True):
        assert state.central is None
        _assert_same_bits(state, other.replace(central=None))
        _assert_same_bits(priorities, other_priorities)
        if metrics is not None:
            assert metrics.central_loss == 0.0
            assert metrics.clipped == 1.0
            _assert_same_bits(metrics, other_metrics._replace(central_loss=metrics.central_loss))


def test_it_is_trained(updates):
    for (before, *_), (after, metrics, _) in pairwise(updates[1]):
        assert metrics.central_loss > 0
        moved = jax.tree.map(lambda x, y: np.any(x != y), before.central.params, after.central.params)
        assert all(jax.tree.leaves(moved))
        _assert_same_bits(after.central.target_params, updates[1][0][0].central.params)  # no copy was due


def test_bad_updates_of_the_agents_are_not_its_either(updates):
    state, sample = updates[1][-1][0], _sample(9)
    poisoned = sample.sequences.replace(rewards=sample.sequences.rewards.at[0, 0].set(jnp.inf))
    after, metrics, _ = updates[2](state, sample._replace(sequences=poisoned))
    _assert_same_bits(after.central, state.central)
    assert after.faults.skipped == 1
    assert metrics.central_loss == 0.0


def test_its_own_bad_updates_are_skipped_without_a_word_to_the_agents(updates):
    state, sample = updates[1][-1][0], _sample(9)
    huge = jax.tree.map(lambda x: jnp.full_like(x, 1e30), state.central.params)
    broken = state.replace(central=state.central.replace(params=huge))
    (good, *_), (after, metrics, _) = updates[2](state, sample), updates[2](broken, sample)
    _assert_same_bits(after.replace(central=None), good.replace(central=None))
    _assert_same_bits(after.central, broken.central)
    assert after.faults.skipped == 0
    assert np.isnan(metrics.central_loss)


@pytest.mark.parametrize("settings", [{"n_step": 1}, {"n_step": 2, "sequence_length": 2, "reward_scale": 2.0}], ids=str)
def test_the_loss_is_the_slow_one(settings):
    config = _config(**settings)
    views = make_views(SPEC, config.encoding, config.state_clock)
    network, length = ValueNetwork(config.central_sizes), config.sample_length
    shapes = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, SPEC.num_agents * SPEC.observation_size)))
    params, target_params = randomize(shapes, 1), randomize(shapes, 2)
    generator = np.random.default_rng(0)
    batch, weights = random_batch(generator, BATCH, length), generator.random(BATCH)
    batch = batch.replace(done=jnp.arange(BATCH)[:, None] % (length + 1) == jnp.arange(length)[None])

    def value(params, row, t):
        return numpy_central(params, np.asarray(batch.observations[row, t]).ravel(), [])

    errors = np.zeros((BATCH, config.sequence_length))
    for row in range(BATCH):
        for t in range(config.sequence_length):
            target, discount = 0.0, 1.0
            for step in range(t, t + config.n_step):
                target += discount * config.reward_scale * float(batch.rewards[row, step].sum())
                discount *= config.gamma * (not batch.done[row, step])
            errors[row, t] = value(params, row, t) - target - discount * value(target_params, row, t + config.n_step)

    prepared = prepare(config, views, uniform(batch))

    def loss(params, target_params):
        return central_loss(config, network, params, target_params, prepared, jnp.asarray(weights, jnp.float32))

    weighted, plain = quick_jit(loss)(params, target_params)
    assert weighted == pytest.approx((weights[:, None] * errors**2).mean(), rel=1e-4)
    assert plain == pytest.approx((errors**2).mean(), rel=1e-4)
