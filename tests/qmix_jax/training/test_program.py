"""A whole run as one function: the same as chunks by hand, and vmappable over keys."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import small_config

from qmix_jax import make_train, make_trainer
from qmix_jax.training.environments import make_environment

CONFIG = small_config(
    num_envs=4,
    total_steps=160,
    max_steps_per_ep=10,
    buffer_capacity=100,
    batch_size=8,
    min_buffer_size=40,
    eval_interval=80,
    eval_episodes=2,
)


@pytest.fixture(scope="module")
def runs():
    # Two seeds at once; key-reuse checks take vmap over a scanned split for a reuse (a false positive of JAX's).
    with jax.debug_key_reuse(False):
        return jax.jit(jax.vmap(make_train(CONFIG)))(jax.vmap(jax.random.key)(jnp.arange(2)))


def test_metrics_have_a_row_per_chunk_and_seed(runs):
    state, metrics = runs
    assert metrics.env_steps.tolist() == [[80, 160]] * 2
    assert metrics.evaluation.mean_return.shape == (2, 2)
    assert metrics.episodes.tolist() == [[8, 8]] * 2
    assert np.all(metrics.episode_length == 10)
    assert np.all(np.isfinite(metrics.updates.loss))
    assert metrics.skipped.tolist() == [[0, 0]] * 2
    assert state.learner.updates.tolist() == [CONFIG.total_updates] * 2


def test_a_seed_of_many_is_that_seed_alone(runs):
    trainer = make_trainer(CONFIG, make_environment(CONFIG))
    state = jax.jit(trainer.init)(jax.random.key(1))
    chunk = jax.jit(trainer.train_chunk)
    for _ in range(CONFIG.num_chunks):
        state, _ = chunk(state)
    of_many = jax.tree.map(lambda x: x[1], runs[0])
    np.testing.assert_array_equal(of_many.replay.experience.actions, state.replay.experience.actions)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), of_many.learner.params, state.learner.params)
