"""Agents' networks: dueling heads, separate or shared parameters, rows that do not touch each other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from helpers import numpy_q_values, quick_jit, randomize

from qmix_jax.networks import append_agent_ids, make_agents, normalized_relu

AGENTS, FEATURES, ACTIONS, BATCH = 3, 4, 5, 6


def _agents(share_parameters):
    agents = make_agents((8, 7), AGENTS, FEATURES, ACTIONS, share_parameters, head_init_scale=1.0)
    return agents._replace(init=quick_jit(agents.init), apply=quick_jit(agents.apply))


separate, shared = _agents(False), _agents(True)
SEPARATE = separate.init(jax.random.key(0))
SHARED = shared.init(jax.random.key(0))
CASES = pytest.mark.parametrize(
    ("agents", "initial"), [(separate, SEPARATE), (shared, SHARED)], ids=["separate", "shared"]
)


def _features(seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=(AGENTS, BATCH, FEATURES)), jnp.float32)


def test_separate_networks_against_numpy():
    params, features = randomize(SEPARATE), _features()
    q_values = separate.apply(params, features)
    for agent in range(AGENTS):
        own = jax.tree.map(lambda x, agent=agent: x[agent], params)
        expected = [numpy_q_values(own, row) for row in features[agent]]
        np.testing.assert_allclose(q_values[agent], expected, rtol=1e-4, atol=1e-4)


def test_a_shared_network_against_numpy():
    params, features = randomize(SHARED), _features()
    q_values = shared.apply(params, features)
    for agent in range(AGENTS):
        expected = [numpy_q_values(params, np.concatenate([row, np.eye(AGENTS)[agent]])) for row in features[agent]]
        np.testing.assert_allclose(q_values[agent], expected, rtol=1e-4, atol=1e-4)


@CASES
def test_the_mean_over_actions_is_the_value_head(agents, initial):
    """Dueling: advantages average to zero, so moving the advantage head's bias as a whole changes nothing."""
    params, features = randomize(initial), _features()
    moved = jax.tree.map(jnp.copy, params)
    moved["params"]["advantage"]["bias"] += 5.0
    np.testing.assert_allclose(agents.apply(moved, features), agents.apply(params, features), atol=1e-5)
    moved["params"]["value"]["bias"] += 5.0
    np.testing.assert_allclose(agents.apply(moved, features), agents.apply(params, features) + 5.0, atol=1e-5)


def test_agents_start_different():
    for kernel in jax.tree.leaves(SEPARATE):
        assert kernel.shape[0] == AGENTS
    kernels = np.asarray(SEPARATE["params"]["Dense_0"]["kernel"])
    assert not np.allclose(kernels[0], kernels[1], atol=0.05)
    same = jnp.broadcast_to(_features()[0], (AGENTS, BATCH, FEATURES))
    q_values = np.asarray(separate.apply(SEPARATE, same))
    assert not np.allclose(q_values[0], q_values[1], atol=0.05)


def test_agents_depend_on_their_own_parameters_and_features_alone():
    params, features = randomize(SEPARATE), _features()
    q_values = np.asarray(separate.apply(params, features))
    other_params = jax.tree.map(lambda x: x.at[1].add(1.0), params)
    for changed in (separate.apply(other_params, features), separate.apply(params, features.at[1].add(1.0))):
        np.testing.assert_array_equal(changed[0], q_values[0])
        np.testing.assert_array_equal(changed[2], q_values[2])
        assert not np.allclose(changed[1], q_values[1])


def test_a_shared_network_tells_agents_apart_by_their_id():
    same = jnp.broadcast_to(_features()[0], (AGENTS, BATCH, FEATURES))
    q_values = np.asarray(shared.apply(randomize(SHARED), same))
    assert not np.allclose(q_values[0], q_values[1], atol=0.05)
    assert not np.allclose(q_values[1], q_values[2], atol=0.05)
    assert SHARED["params"]["Dense_0"]["kernel"].shape == (FEATURES + AGENTS, 8)


def test_agent_ids_are_one_hot_after_the_features():
    features = _features()
    with_ids = append_agent_ids(features)
    np.testing.assert_array_equal(with_ids[..., :FEATURES], features)
    for agent in range(AGENTS):
        np.testing.assert_array_equal(with_ids[agent, :, FEATURES:], np.tile(np.eye(AGENTS)[agent], (BATCH, 1)))


@CASES
def test_a_row_does_not_depend_on_its_neighbours(agents, initial):
    params, features = randomize(initial), _features()
    changed = _features(1).at[:, 2].set(features[:, 2])
    before, after = agents.apply(params, features), agents.apply(params, changed)
    np.testing.assert_array_equal(after[:, 2], before[:, 2])
    assert not np.allclose(after[:, 1], before[:, 1])


def test_small_heads_start_near_zero():
    agents = make_agents((8,), AGENTS, FEATURES, ACTIONS, False, head_init_scale=0.01)
    q_values = quick_jit(agents.apply)(quick_jit(agents.init)(jax.random.key(0)), _features())
    assert q_values.shape == (AGENTS, BATCH, ACTIONS)
    assert q_values.dtype == jnp.float32
    assert 0 < np.abs(q_values).max() < 0.1


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
    inputs, ones = _features()[0].at[1, 2].set(jnp.nan), jnp.ones(FEATURES)
    values = np.asarray(normalized_relu(inputs, ones, ones))
    gradient = np.asarray(jax.grad(lambda x: normalized_relu(x, ones, ones).sum())(inputs))
    for result in (values, gradient):
        np.testing.assert_array_equal(np.isnan(result).all(axis=1), np.arange(BATCH) == 1)
        np.testing.assert_array_equal(np.isnan(result).any(axis=1), np.arange(BATCH) == 1)


def test_heads_are_named_and_start_as_layers_of_their_own():
    """Summing the heads' weights is the network's own business: parameters stay those of two dense layers."""
    network = SEPARATE["params"]
    assert {name: layer["kernel"].shape for name, layer in network.items() if "kernel" in layer} == {
        "Dense_0": (AGENTS, FEATURES, 8),
        "Dense_1": (AGENTS, 8, 7),
        "advantage": (AGENTS, 7, ACTIONS),
        "value": (AGENTS, 7, 1),
    }
    for name in ("advantage", "value"):
        kernel = np.asarray(network[name]["kernel"][0])
        np.testing.assert_allclose(kernel.T @ kernel, np.eye(kernel.shape[1]), atol=1e-4)
        assert not network[name]["bias"].any()
