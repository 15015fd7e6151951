"""LayerNorm and ReLU with a gradient of their own, and the recurrent network against slow NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from helpers import numpy_q_values, numpy_recurrent_values, quick_jit, randomize

from qmix_jax.networks.agents import QNetwork, RecurrentQNetwork
from qmix_jax.networks.layers import Start, normalized_relu


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
    network = RecurrentQNetwork((6, 5), 3, Start("orthogonal", 1.0))
    features = np.random.default_rng(0).normal(size=(2, 4))
    params = randomize(quick_jit(network.init)(jax.random.key(0), jnp.zeros(4), jnp.zeros(5)))
    memory, expected_memory = jnp.zeros(5), np.zeros(5)
    for seen in features:
        q_values, memory = quick_jit(network.apply)(params, jnp.asarray(seen, jnp.float32), memory)
        expected, expected_memory = numpy_recurrent_values(params, seen, expected_memory)
        np.testing.assert_allclose(memory, expected_memory, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(q_values, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", [QNetwork, RecurrentQNetwork])
def test_plain_networks_against_numpy(kind):
    """Without LayerNorm and dueling heads: linear, ReLU, GRU, linear, as PyMARL's agents."""
    network = kind((6, 5), 3, Start("torch", 1.0), layer_norm=False, dueling=False)
    memory = [jnp.zeros(5)] if kind is RecurrentQNetwork else []
    seen = np.random.default_rng(0).normal(size=4)
    params = randomize(quick_jit(network.init)(jax.random.key(0), jnp.zeros(4), *memory))
    outputs = quick_jit(network.apply)(params, jnp.asarray(seen, jnp.float32), *memory)
    if memory:
        expected, _ = numpy_recurrent_values(params, seen, np.zeros(5))
        outputs, _ = outputs
    else:
        expected = numpy_q_values(params, seen)
    np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("scheme", "hidden", "output"), [("orthogonal", 2**0.5, 0.1), ("jaxmarl", 0.1, 0.1)])
def test_gains_of_orthogonal_layers(scheme, hidden, output):
    network = QNetwork((8, 8), 3, Start(scheme, 0.1), dueling=False)
    params = quick_jit(network.init)(jax.random.key(0), jnp.zeros(8))["params"]
    for name, gain in (("Dense_0", hidden), ("Dense_1", hidden), ("values", output)):
        kernel = np.asarray(params[name]["kernel"])
        np.testing.assert_allclose(kernel.T @ kernel, gain**2 * np.eye(kernel.shape[1]), atol=1e-4)
        assert not params[name]["bias"].any()


def test_pytorchs_default_initialisation():
    """Weights and biases are uniform within 1/sqrt(inputs); a GRU's within 1/sqrt(hidden size)."""
    network = RecurrentQNetwork((400, 100), 50, Start("torch", 9.0), layer_norm=False, dueling=False)
    params = quick_jit(network.init)(jax.random.key(0), jnp.zeros(25), jnp.zeros(100))["params"]
    layers = [(params["Dense_0"], 25), (params["values"], 100), *((gate, 100) for gate in params["GRUCell_0"].values())]
    for layer, inputs in layers:
        for array in layer.values():
            assert np.abs(array).max() <= inputs**-0.5
            assert np.abs(array).max() > 0.9 * inputs**-0.5
            assert np.abs(np.mean(array)) < 0.2 * inputs**-0.5
