"""QPLEX's mixer against slow NumPy; for any parameters the agents' own best actions are the team's."""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import numpy_qplex, quick_jit, randomize
from hypothesis import given, settings
from hypothesis import strategies as st

from qmix_jax.networks.layers import Start
from qmix_jax.networks.mixers import mix_advantages, value_actions
from qmix_jax.networks.qplex import QPlexGapMixer, QPlexMixer

AGENTS, ACTIONS, STATES = 2, 3, 4
JOINT = list(product(range(ACTIONS), repeat=AGENTS))
START = Start("orthogonal", 0.01)
MODULES = {"qplex": QPlexMixer(ACTIONS, 2, 5, START, head_layers=3), "qplex_gap": QPlexGapMixer(ACTIONS, 2, 5, START)}
MIXERS = {name: mix_advantages(module, AGENTS, STATES) for name, module in MODULES.items()}
INITIAL = {name: quick_jit(mixer.init)(jax.random.key(0)) for name, mixer in MIXERS.items()}


def _every_q_tot(name, params, q_values, mask, state):
    """q_tot of every joint action in one state, and the agents' values of it."""

    def repeat(x):
        return jnp.broadcast_to(x[None], (len(JOINT), *x.shape))

    values = value_actions(jnp.swapaxes(repeat(q_values), 0, 1), jnp.array(JOINT).T, repeat(mask))
    return MIXERS[name].apply(params, values, repeat(state))[:, 0], values


every_q_tot = quick_jit(_every_q_tot, static_argnums=0)


def _inputs(seed, scale=1.0):
    """The agents' values of their actions, what is allowed of them, and a state."""
    generator = np.random.default_rng(seed)
    mask = generator.random((AGENTS, ACTIONS)) < 0.6
    mask[:, 0] |= ~mask.any(axis=-1)
    q_values, state = (generator.normal(0, scale, shape) for shape in ((AGENTS, ACTIONS), STATES))
    return jnp.asarray(q_values, jnp.float32), jnp.asarray(mask), jnp.asarray(state, jnp.float32)


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("seed", range(3))
def test_against_numpy(name, seed):
    params, (q_values, mask, state) = randomize(INITIAL[name], seed), _inputs(seed)
    chosen = [[q_values[i, a] for i, a in enumerate(actions)] for actions in JOINT]
    best = [max(q_values[i][mask[i]]) for i in range(AGENTS)]
    expected = [numpy_qplex(params, *pair, ACTIONS, state) for pair in zip(chosen, [best] * 9, JOINT, strict=True)]
    q_tot, values = every_q_tot(name, params, q_values, mask, state)
    np.testing.assert_allclose(values.chosen, chosen)
    np.testing.assert_allclose(values.best, [best] * 9)
    np.testing.assert_allclose(q_tot, [q for q, _ in expected], rtol=1e-4, atol=1e-4)
    assert all((weights > 0).all() for _, weights in expected)


@pytest.mark.parametrize("name", MODULES)
@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32 - 1), st.sampled_from((0.1, 1.0)), st.sampled_from((0.1, 1.0, 10.0)))
def test_what_is_best_for_each_is_best_for_all(name, seed, params_scale, inputs_scale):
    params, (q_values, mask, state) = randomize(INITIAL[name], seed, params_scale), _inputs(seed, inputs_scale)
    q_tot, values = every_q_tot(name, params, q_values, mask, state)
    (greedy,) = np.flatnonzero((values.chosen == values.best).all(axis=1))
    allowed = np.array([all(mask[i, a] for i, a in enumerate(actions)) for actions in JOINT])
    assert (q_tot[allowed] <= q_tot[greedy] + 1e-6 * np.abs(q_tot).max()).all()


@pytest.mark.parametrize(("name", "gap"), [("qplex", 0.0), ("qplex_gap", 0.1)])
def test_the_best_joint_action_starts_near_the_sum(name, gap):
    """Transformation weights begin near 1 and biases near 0; the gap near 0.1 for all but the best joint action."""
    q_values, mask, state = jnp.array([[0.0, -1.0, -2.0], [1.0, 0.0, 3.0]]), jnp.ones((2, 3), bool), jnp.ones(STATES)
    q_tot, values = every_q_tot(name, INITIAL[name], q_values, mask, state)
    total = np.asarray(values.chosen.sum(axis=1))
    assert q_tot[total.argmax()] == pytest.approx(3.0, abs=0.1)
    if gap:  # its heads begin at 1
        np.testing.assert_allclose(q_tot, total - np.where(total < 3, gap, 0.0), atol=0.1)


@pytest.mark.parametrize("name", MODULES)
def test_agents_learn_as_vdns_do_whatever_the_advantages_weigh(name):
    """The gradient of q_tot with respect to an agent's value is w_i of the action taken, and none of the best one."""
    params, (q_values, mask, state) = randomize(INITIAL[name]), _inputs(0)
    gradient, _ = quick_jit(jax.jacobian(_every_q_tot, argnums=2, has_aux=True), static_argnums=0)(
        name, params, q_values, mask, state
    )
    for joint, actions in enumerate(JOINT):
        taken = np.eye(ACTIONS)[list(actions)]
        weights = gradient[joint].sum(axis=-1, keepdims=True)
        np.testing.assert_allclose(gradient[joint], weights * taken, atol=1e-6)
        np.testing.assert_array_less(0.0, weights)
