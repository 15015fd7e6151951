"""What the networks thought, against slow NumPy: values, the mixer's weights as differences, and V(s)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import SPEC, numpy_q_tot, numpy_q_values, numpy_recurrent_values, quick_jit, randomize, small_config

from env_jax.types import TimeStep
from qmix_jax.learning.model import init_params, make_networks
from qmix_jax.training.inspection import inspect

STEPS, EPISODES = 3, 2


def inspected(**settings):
    """Parameters of random numbers, what was seen and done, and what `inspect` says of it."""
    config = small_config(hidden_sizes=(8, 8), **settings)
    params = randomize(jax.eval_shape(lambda key: init_params(make_networks(config, SPEC), key), jax.random.key(0)))
    generator = np.random.default_rng(1)
    shape = STEPS, EPISODES
    never = np.zeros(shape, bool)
    seen = TimeStep(
        observations=generator.normal(size=(*shape, 2, 2)).astype(np.float32),
        state=generator.normal(size=(*shape, 3)).astype(np.float32),
        action_mask=np.ones((*shape, 2, 3), bool),
        rewards=np.zeros((*shape, 2), np.float32),
        terminated=never,
        truncated=never,
    )
    actions = generator.integers(0, 3, (*shape, 2)).astype(np.int32)
    play = quick_jit(lambda params, seen, actions: inspect(config, SPEC, params, seen, actions))
    return params, seen, actions, jax.device_get(play(params, seen, actions))


def test_values_weights_and_v_are_those_of_the_networks():
    params, seen, actions, activations = inspected()
    for step, episode in np.ndindex(STEPS, EPISODES):
        at = step, episode
        q_values = [
            numpy_q_values(
                jax.tree.map(lambda x, agent=agent: x[agent], params["agents"]), seen.observations[at][agent]
            )
            for agent in range(2)
        ]
        np.testing.assert_allclose(activations.q_values[at], q_values, rtol=1e-4, atol=1e-4)
        chosen = np.array([values[action] for values, action in zip(q_values, actions[at], strict=True)])
        state = np.append(seen.state[at], step / SPEC.max_steps)  # the clock counts this episode's steps
        mixed = numpy_q_tot(params["mixer"], chosen, state)
        assert activations.q_tot[at] == pytest.approx(mixed, rel=1e-4, abs=1e-4)
        for agent, weight in enumerate(activations.weights[at]):
            more, less = (
                numpy_q_tot(params["mixer"], chosen + sign * 1e-4 * np.eye(2)[agent], state) for sign in (1, -1)
            )
            assert weight == pytest.approx((more - less) / 2e-4, rel=1e-3, abs=1e-4)
        without_value = jax.tree.map(np.copy, params["mixer"])
        without_value["params"]["value"] = jax.tree.map(np.zeros_like, params["mixer"]["params"]["value"])
        assert activations.state_value[at] == pytest.approx(
            mixed - numpy_q_tot(without_value, chosen, state), rel=1e-4, abs=1e-4
        )


def test_agents_remember_the_episode_from_its_first_step():
    params, seen, _, activations = inspected(agent="gru", algorithm="vdn")
    memory = np.zeros((2, 8))
    for step in range(STEPS):
        for agent in range(2):
            network = jax.tree.map(lambda x, agent=agent: x[agent], params["agents"])
            values, memory[agent] = numpy_recurrent_values(network, seen.observations[step, 1, agent], memory[agent])
            np.testing.assert_allclose(activations.q_values[step, 1, agent], values, rtol=1e-4, atol=1e-4)


def test_a_sum_weighs_all_alike_and_adds_nothing():
    _, _, actions, activations = inspected(algorithm="vdn")
    chosen = np.take_along_axis(activations.q_values, actions[..., None], axis=-1)[..., 0]
    np.testing.assert_allclose(activations.q_tot, chosen.sum(axis=-1), rtol=1e-5)
    np.testing.assert_array_equal(activations.weights, jnp.ones((STEPS, EPISODES, 2)))
    assert activations.state_value is None


def test_agents_that_learn_alone_have_no_team_value():
    activations = inspected(algorithm="iql")[-1]
    assert activations.q_values.shape == (STEPS, EPISODES, 2, 3)
    assert (activations.q_tot, activations.weights, activations.state_value) == (None, None, None)
