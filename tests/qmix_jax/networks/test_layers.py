"""LayerNorm and ReLU with a gradient of their own, and the recurrent network against slow NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from helpers import numpy_recurrent_values, quick_jit, randomize

from qmix_jax.networks.agents import RecurrentQNetwork
from qmix_jax.networks.layers import normalized_relu


def test_the_written_gradient_of_layer_norm_is_that_of_differentiation():
    generator = np.random.default_rng(0)
    inputs, weights = (jnp.asarray(generator.normal(1.0, 2.0, (9, 7)), jnp.float32) for _ in range(2))
    scale, bias = (jnp.asarray(generator.normal(size=7), jnp.float32) for _ in range(2))

    def reference(inputs, scale, bias):
        return nn.relu(nn.LayerNorm().apply({"params": {"scale": scale, "bias": bias}}, inputs))

    def gradients(function):
        return jax.grad(lambda *args: jnp.sum(weights * function(*args)), (0, 1, 2))(inputs, scale, bias)

    values = normalized_relu(inputs, scale, bias)
    assert 0.2 < (values == 0).mean() < 0.8  # the ReLU has something to do
    np.testing.assert_allclose(values, reference(inputs, scale, bias), rtol=1e-5, atol=1e-6)
    for found, expected in zip(gradients(normalized_relu), gradients(reference), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_layer_norm_shows_what_is_not_a_number():
    inputs, ones = jnp.arange(24.0).reshape(6, 4).at[1, 2].set(jnp.nan), jnp.ones(4)
    values = np.asarray(normalized_relu(inputs, ones, ones))
    gradient = np.asarray(jax.grad(lambda x: normalized_relu(x, ones, ones).sum())(inputs))
    for result in (values, gradient):
        np.testing.assert_array_equal(np.isnan(result).all(axis=1), np.arange(6) == 1)
        np.testing.assert_array_equal(np.isnan(result).any(axis=1), np.arange(6) == 1)


def test_a_recurrent_network_against_numpy():
    """Two steps, the second with the first one's memory."""
    network = RecurrentQNetwork((6, 5), 3, head_init_scale=1.0)
    features = np.random.default_rng(0).normal(size=(2, 4))
    params = randomize(quick_jit(network.init)(jax.random.key(0), jnp.zeros(4), jnp.zeros(5)))
    memory, expected_memory = jnp.zeros(5), np.zeros(5)
    for seen in features:
        q_values, memory = quick_jit(network.apply)(params, jnp.asarray(seen, jnp.float32), memory)
        expected, expected_memory = numpy_recurrent_values(params, seen, expected_memory)
        np.testing.assert_allclose(memory, expected_memory, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(q_values, expected, rtol=1e-4, atol=1e-4)
