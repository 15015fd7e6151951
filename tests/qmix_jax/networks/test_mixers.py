"""The mixing network against slow NumPy; monotonic for any parameters, values and state."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import numpy_q_tot, quick_jit, randomize
from hypothesis import given, settings
from hypothesis import strategies as st

from qmix_jax.networks.layers import Start
from qmix_jax.networks.mixers import QMixer

AGENTS, STATES, BATCH = 3, 4, 5
mixer = QMixer(mixing_size=6, hypernet_size=7, start=Start("orthogonal", 1.0))
skipping = QMixer(mixing_size=6, hypernet_size=7, start=Start("orthogonal", 1.0), skip=True)
initial = quick_jit(mixer.init)(jax.random.key(0), jnp.zeros((1, AGENTS)), jnp.zeros((1, STATES)))
q_tot = quick_jit(mixer.apply)


def _one_q_tot(agent_qs, state, params):
    return mixer.apply(params, agent_qs[None], state[None])[0]


gradient = quick_jit(jax.vmap(jax.grad(_one_q_tot), (0, 0, None)))


def _inputs(seed, scale=1.0):
    generator = np.random.default_rng(seed)
    return tuple(jnp.asarray(generator.normal(0, scale, (BATCH, n)), jnp.float32) for n in (AGENTS, STATES))


@pytest.mark.parametrize("seed", range(3))
def test_against_numpy(seed):
    params = randomize(initial, seed)
    agent_qs, states = _inputs(seed)
    for module in (mixer, skipping):
        expected = [numpy_q_tot(params, *row, module.skip) for row in zip(agent_qs, states, strict=True)]
        np.testing.assert_allclose(module.apply(params, agent_qs, states), expected, rtol=1e-4, atol=1e-4)


def test_hidden_layers_of_hypernetworks_with_layer_norm_against_numpy():
    normed = QMixer(mixing_size=6, hypernet_size=7, start=Start("orthogonal", 1.0), layer_norm=True)
    agent_qs, states = _inputs(0)
    params = randomize(jax.eval_shape(normed.init, jax.random.key(0), agent_qs, states))
    expected = [numpy_q_tot(params, *row, skip=False) for row in zip(agent_qs, states, strict=True)]
    np.testing.assert_allclose(normed.apply(params, agent_qs, states), expected, rtol=1e-4, atol=1e-4)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32 - 1), st.sampled_from((0.1, 1.0, 10.0)), st.sampled_from((0.1, 1.0, 10.0)))
def test_more_for_one_agent_is_never_less_for_all(seed, params_scale, inputs_scale):
    params = randomize(initial, seed, params_scale)
    agent_qs, states = _inputs(seed, inputs_scale)
    assert (np.asarray(gradient(agent_qs, states, params)) >= 0).all()


def test_every_agent_can_matter():
    gradients = [gradient(*_inputs(seed), randomize(initial, seed)) for seed in range(3)]
    assert (np.mean(gradients, axis=(0, 1)) > 0.01).all()


def test_a_row_does_not_depend_on_its_neighbours():
    params = randomize(initial)
    agent_qs, states = _inputs(0)
    others = [new.at[2].set(old[2]) for new, old in zip(_inputs(1), (agent_qs, states), strict=True)]
    assert q_tot(params, *others)[2] == q_tot(params, agent_qs, states)[2]
    assert q_tot(params, *others)[1] != q_tot(params, agent_qs, states)[1]


def test_the_bias_is_a_value_of_the_state_alone():
    """With the mixing weights zero, q_tot is V(s) and no agent's value matters."""
    params = randomize(initial)
    for name in ("weights_1", "weights_2"):
        params["params"][name] = jax.tree.map(jnp.zeros_like, params["params"][name])
    agent_qs, states = _inputs(0)
    values = q_tot(params, agent_qs, states)
    np.testing.assert_array_equal(values, q_tot(params, 3 * agent_qs, states))
    assert len(np.unique(values)) == BATCH


def test_a_small_initial_scale_starts_near_zero():
    small = QMixer(mixing_size=32, hypernet_size=64, start=Start("orthogonal", 0.01))
    agent_qs, states = _inputs(0)
    params = quick_jit(small.init)(jax.random.key(0), agent_qs, states)
    assert np.abs(quick_jit(small.apply)(params, agent_qs, states)).max() < 0.1


def test_with_the_skip_connection_the_start_is_a_sum_and_no_agent_can_lose_its_gradient():
    """The network adds what it adds without the sum, which never falls with an agent's value."""
    params = randomize(initial)
    agent_qs, states = _inputs(0)
    added = skipping.apply(params, agent_qs, states) - q_tot(params, agent_qs, states)
    np.testing.assert_allclose(added, np.sum(agent_qs, axis=1), rtol=1e-4, atol=1e-4)
    near_zero = jax.tree.map(lambda x: 1e-3 * x, params)
    np.testing.assert_allclose(skipping.apply(near_zero, agent_qs, states), np.sum(agent_qs, axis=1), atol=0.05)


def test_ranks_are_checked():
    with pytest.raises(AssertionError):
        mixer.apply(initial, jnp.zeros(AGENTS), jnp.zeros(STATES))


def test_one_layer_hypernetworks_and_a_width_of_their_own_for_v():
    plain = QMixer(6, 7, Start("torch", 1.0), hypernet_layers=1, value_size=3)
    agent_qs, states = _inputs(0)
    params = randomize(quick_jit(plain.init)(jax.random.key(0), agent_qs, states))
    shapes = {name: layer["kernel"].shape for name, layer in params["params"].items()}
    assert shapes == {
        "weights_1": (STATES, 6 * AGENTS),
        "weights_2": (STATES, 6),
        "bias_1": (STATES, 6),
        "value_hidden": (STATES, 3),
        "value": (3, 1),
    }
    expected = [numpy_q_tot(params, *row, skip=False) for row in zip(agent_qs, states, strict=True)]
    np.testing.assert_allclose(quick_jit(plain.apply)(params, agent_qs, states), expected, rtol=1e-4, atol=1e-4)
