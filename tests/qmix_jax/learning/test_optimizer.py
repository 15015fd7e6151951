"""The learning rate's decay against NumPy and optax, and given another end while it runs."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import small_config

from qmix_jax.config import Config
from qmix_jax.learning.optimizer import extend_schedule, initial_schedule, learning_rate, share_left


def _config(total_updates=1000, **settings):
    config = small_config(num_envs=1, min_buffer_size=8, train_frequency=1, total_steps=8 + total_updates, **settings)
    assert config.total_updates == total_updates
    return config


def _rates(config, schedule, updates):
    return np.asarray(jax.vmap(lambda done: learning_rate(config, schedule, done))(jnp.asarray(updates, jnp.int32)))


SHAPES = {
    "constant": lambda left: 1.0,
    "linear": lambda left: left,
    "quadratic": lambda left: left**2,
    "cosine": lambda left: 0.5 + 0.5 * np.cos(np.pi * (1 - left)),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("end_fraction", [0.05, 0.0, 1.0])
def test_decay_from_start_to_end_and_beyond(shape, end_fraction):
    config = _config(lr=0.01, lr_schedule=shape, lr_end_fraction=end_fraction)
    updates = np.array([0, 1, 250, 500, 999, 1000, 1001, 2_000_000_000])
    left = 1 - np.minimum(updates / 1000, 1)
    end = 0.01 * end_fraction
    rates = _rates(config, initial_schedule(config), updates)
    np.testing.assert_allclose(rates, end + (0.01 - end) * SHAPES[shape](left), rtol=1e-4, atol=1e-8)
    assert rates[0] == np.float32(0.01)
    np.testing.assert_allclose(rates[updates >= 1000], 0.01 if shape == "constant" else end, rtol=1e-6)


OPTAX = {
    "linear": optax.polynomial_schedule(0.01, 0.0005, 1.0, 1000),
    "quadratic": optax.polynomial_schedule(0.01, 0.0005, 2.0, 1000),
    "cosine": optax.cosine_decay_schedule(0.01, 1000, alpha=0.05),
    "exponential": optax.exponential_decay(0.01, 1000, 0.05, end_value=0.0005),
}


@pytest.mark.parametrize("shape", OPTAX)
def test_an_untouched_schedule_is_optax_s(shape):
    config = _config(lr=0.01, lr_schedule=shape, lr_end_fraction=0.05)
    with jax.numpy_dtype_promotion("standard"):  # optax multiplies integers with floats
        expected = jax.vmap(OPTAX[shape])(jnp.arange(1100))
    np.testing.assert_allclose(_rates(config, initial_schedule(config), np.arange(1100)), expected, rtol=1e-5)


def test_a_run_without_updates_has_a_schedule_too():
    config = Config(total_steps=64)
    assert config.total_updates == 0
    assert learning_rate(config, initial_schedule(config), jnp.int32(0)) == np.float32(config.lr)


@pytest.mark.parametrize("at", [0, 1, 400, 999, 1000])
def test_another_end_changes_nothing_where_it_is_set(at):
    config = _config()
    before = initial_schedule(config)
    after = extend_schedule(before, jnp.int32(at), 3000)
    assert after.end == 3000
    assert learning_rate(config, after, jnp.int32(at)) == learning_rate(config, before, jnp.int32(at))
    rates = _rates(config, after, [at, at + 1, 2000, 2999, 3000, 3001])
    assert (np.diff(rates) <= 0).all()
    assert (rates[-2:] == np.float32(config.lr * config.lr_end_fraction)).all()


def test_what_is_left_at_an_extension_is_spread_over_the_rest():
    config = _config()
    extended = extend_schedule(initial_schedule(config), jnp.int32(400), 2000)
    for updates, left in ((400, 0.6), (1200, 0.3), (2000, 0.0), (5000, 0.0)):
        assert share_left(extended, jnp.int32(updates)) == pytest.approx(left, rel=1e-6)
    again = extend_schedule(extended, jnp.int32(1200), 2200)
    for updates, left in ((1200, 0.3), (1700, 0.15), (2200, 0.0)):
        assert share_left(again, jnp.int32(updates)) == pytest.approx(left, rel=1e-6)


def test_an_extension_after_the_end_stays_at_the_end():
    config = _config()
    extended = extend_schedule(initial_schedule(config), jnp.int32(1000), 2000)
    assert (_rates(config, extended, [1000, 1500, 2000]) == np.float32(config.lr * config.lr_end_fraction)).all()
