"""All agents' networks: separate or shared parameters, memories, rows that do not touch each other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import numpy_q_values, quick_jit, randomize

from qmix_jax.config import Config
from qmix_jax.networks.agents import append_agent_ids, make_agents

AGENTS, FEATURES, ACTIONS, BATCH = 3, 4, 5, 6


NO_MEMORY = jnp.zeros((BATCH, AGENTS, 0))


def _make(recurrent=False, **settings):
    return make_agents(Config(agent="gru" if recurrent else "mlp", **settings), AGENTS, FEATURES, ACTIONS)


def _agents(share_parameters, recurrent=False):
    agents = _make(hidden_sizes=(8, 7), share_parameters=share_parameters, head_init_scale=1.0, recurrent=recurrent)
    unroll = quick_jit(agents.unroll, static_argnums=4)
    return agents._replace(init=quick_jit(agents.init), step=quick_jit(agents.step), unroll=unroll)


def _values(agents, params, features):
    return agents.step(params, features, NO_MEMORY)[0]


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
    q_values = _values(separate, params, features)
    for agent in range(AGENTS):
        own = jax.tree.map(lambda x, agent=agent: x[agent], params)
        expected = [numpy_q_values(own, row) for row in features[agent]]
        np.testing.assert_allclose(q_values[agent], expected, rtol=1e-4, atol=1e-4)


def test_a_shared_network_against_numpy():
    params, features = randomize(SHARED), _features()
    q_values = _values(shared, params, features)
    for agent in range(AGENTS):
        expected = [numpy_q_values(params, np.concatenate([row, np.eye(AGENTS)[agent]])) for row in features[agent]]
        np.testing.assert_allclose(q_values[agent], expected, rtol=1e-4, atol=1e-4)


@CASES
def test_the_mean_over_actions_is_the_value_head(agents, initial):
    """Dueling: advantages average to zero, so moving the advantage head's bias as a whole changes nothing."""
    params, features = randomize(initial), _features()
    moved = jax.tree.map(jnp.copy, params)
    moved["params"]["advantage"]["bias"] += 5.0
    np.testing.assert_allclose(_values(agents, moved, features), _values(agents, params, features), atol=1e-5)
    moved["params"]["value"]["bias"] += 5.0
    np.testing.assert_allclose(_values(agents, moved, features), _values(agents, params, features) + 5.0, atol=1e-5)


def test_agents_start_different():
    for kernel in jax.tree.leaves(SEPARATE):
        assert kernel.shape[0] == AGENTS
    kernels = np.asarray(SEPARATE["params"]["Dense_0"]["kernel"])
    assert not np.allclose(kernels[0], kernels[1], atol=0.05)
    same = jnp.broadcast_to(_features()[0], (AGENTS, BATCH, FEATURES))
    q_values = np.asarray(_values(separate, SEPARATE, same))
    assert not np.allclose(q_values[0], q_values[1], atol=0.05)


def test_agents_depend_on_their_own_parameters_and_features_alone():
    params, features = randomize(SEPARATE), _features()
    q_values = np.asarray(_values(separate, params, features))
    other_params = jax.tree.map(lambda x: x.at[1].add(1.0), params)
    for changed in (_values(separate, other_params, features), _values(separate, params, features.at[1].add(1.0))):
        np.testing.assert_array_equal(changed[0], q_values[0])
        np.testing.assert_array_equal(changed[2], q_values[2])
        assert not np.allclose(changed[1], q_values[1])


def test_a_shared_network_tells_agents_apart_by_their_id():
    same = jnp.broadcast_to(_features()[0], (AGENTS, BATCH, FEATURES))
    q_values = np.asarray(_values(shared, randomize(SHARED), same))
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
    before, after = _values(agents, params, features), _values(agents, params, changed)
    np.testing.assert_array_equal(after[:, 2], before[:, 2])
    assert not np.allclose(after[:, 1], before[:, 1])


def test_small_heads_start_near_zero():
    agents = _make(hidden_sizes=(8,), head_init_scale=0.01)
    q_values, memory = quick_jit(agents.step)(quick_jit(agents.init)(jax.random.key(0)), _features(), NO_MEMORY)
    assert memory.shape == NO_MEMORY.shape
    assert q_values.shape == (AGENTS, BATCH, ACTIONS)
    assert q_values.dtype == jnp.float32
    assert 0 < np.abs(q_values).max() < 0.1


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


@pytest.mark.parametrize("recurrent", [False, True])
def test_initialising_calls_no_kernels_that_can_wait_for_each_other(recurrent):
    """Jaxlib's QR, which flax's initialisers call, deadlocks on two cores: see `layers.orthogonal`."""
    agents = _make(hidden_sizes=(8, 7), recurrent=recurrent)
    assert "custom_call" not in jax.jit(agents.init).lower(jax.random.key(0)).as_text()


LENGTH = 5
EMPTY = jnp.zeros((BATCH, AGENTS, 7))  # the recurrent agents' first hidden state


def _sequences(seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=(AGENTS, BATCH, LENGTH, FEATURES)), jnp.float32)


@CASES
@pytest.mark.parametrize("burn_in", [0, 2])
def test_sequences_without_a_memory_are_steps(agents, initial, burn_in):
    params, features = randomize(initial), _sequences()
    found, memories = agents.unroll(
        params, features, jnp.zeros((BATCH, LENGTH), bool), jnp.zeros((BATCH, AGENTS, 0)), burn_in
    )
    assert memories.shape == (AGENTS, BATCH, LENGTH - burn_in, 0)
    expected = jnp.stack([_values(agents, params, features[:, :, t]) for t in range(burn_in, LENGTH)], axis=2)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.fixture(scope="module", params=[False, True], ids=["separate", "shared"])
def remembering(request):
    agents = _agents(request.param, recurrent=True)
    return agents, randomize(agents.init(jax.random.key(0)))


@pytest.mark.parametrize("burn_in", [0, 2])
def test_sequences_are_steps_that_hand_on_their_memory(remembering, burn_in):
    """Which a new episode, here after the second or fourth step of some rows, empties."""
    agents, params = remembering
    assert agents.memory_size == 7
    features = _sequences()
    begins = jnp.zeros((BATCH, LENGTH), bool).at[1, 2].set(True).at[2, 4].set(True).at[3, 0].set(True)
    first = jnp.asarray(np.random.default_rng(3).normal(size=(BATCH, AGENTS, 7)), jnp.float32)
    found, memories = agents.unroll(params, features, begins, first, burn_in)
    memory, expected, handed_on = first, [], []
    for t in range(LENGTH):
        memory = jnp.where(begins[:, t, None, None], 0.0, memory)
        q_values, memory = agents.step(params, features[:, :, t], memory)
        expected.append(q_values)
        handed_on.append(jnp.swapaxes(memory, 0, 1))
    np.testing.assert_allclose(found, jnp.stack(expected[burn_in:], axis=2), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(memories, jnp.stack(handed_on[burn_in:], axis=2), rtol=1e-5, atol=1e-5)


def test_an_episode_does_not_remember_the_one_before(remembering):
    agents, params = remembering
    features, begins = _sequences(), jnp.zeros((BATCH, LENGTH), bool).at[:, 2].set(True)
    other = features.at[:, :, :2].set(_sequences(1)[:, :, :2])
    for starts, same in ((begins, True), (jnp.zeros_like(begins), False)):
        found = [agents.unroll(params, seen, starts, EMPTY, 2)[0] for seen in (features, other)]
        assert np.array_equal(*found) == same


def test_burn_in_fills_the_memory_without_a_gradient(remembering):
    agents, params = remembering
    never = jnp.zeros((BATCH, LENGTH), bool)

    def last_value(features, burn_in):
        return agents.unroll.__wrapped__(params, features, never, EMPTY, burn_in)[0][:, :, -1].sum()

    gradient = quick_jit(jax.grad(last_value), static_argnums=1)
    before, after = slice(None, 2), slice(2, None)
    for burn_in, reaches_back in ((0, True), (2, False)):
        of_features = np.asarray(gradient(_sequences(), burn_in))
        assert of_features[:, :, after].any()
        assert of_features[:, :, before].any() == reaches_back
