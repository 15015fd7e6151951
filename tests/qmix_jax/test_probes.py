"""The whole trainer on environments with known values: each catches one kind of mistake in seconds."""

import jax.numpy as jnp
import numpy as np
import pytest
from helpers import joint_values, small_config, train
from probes import ActionReward, ConstantReward, CueReward, Deadline, ForbiddenFruit, ProbeState, TwoSteps

GAMMA = 0.5


def _config(vector_steps=800, **settings):
    """Eight environments that act at random, one update of 32 per vector step."""
    defaults = {
        "num_envs": 8,
        "total_steps": 8 * vector_steps,
        "eval_interval": 8 * vector_steps,
        "buffer_capacity": 4000,
        "min_buffer_size": 64,
        "batch_size": 32,
        "train_frequency": 8,
        "lr": 1e-2,
        "gamma": GAMMA,
        "n_step": 1,
        "target_update_interval": 20,
        "epsilon_end": 1.0,
        "state_clock": False,
    }
    return small_config(**{**defaults, **settings})


def _state(step=0, cue=1.0, place=0):
    return ProbeState(jnp.int32(step), jnp.float32(cue), jnp.int32(place))


def test_a_constant_team_reward():
    """With one environment alone: the smallest `num_envs`."""
    config, env = _config(400, num_envs=1, total_steps=400, eval_interval=400, train_frequency=1), ConstantReward()
    np.testing.assert_allclose(joint_values(config, env, train(env, config), _state()), 1.0, atol=0.05)


def test_a_reward_that_one_agent_or_the_state_announces():
    config, env = _config(1200), CueReward()
    trained = train(env, config)
    for place in range(3):
        for cue in (-1.0, 1.0):
            values = joint_values(config, env, trained, _state(cue=cue, place=place))
            np.testing.assert_allclose(values, cue, atol=0.1, err_msg=f"place {place}")


@pytest.mark.parametrize(("n_step", "first", "gamma"), [(1, 0.0, 0.8), (2, -1.0, 0.8), (3, -1.0, 0.8)])
def test_the_end_masks_its_own_bootstrap_and_nothing_else(n_step, first, gamma):
    config, env = _config(n_step=n_step, gamma=gamma), TwoSteps(first=first)
    trained = train(env, config)
    for step, value in enumerate(env.values(gamma)):
        np.testing.assert_allclose(joint_values(config, env, trained, _state(step)), value, atol=0.1)


def test_each_agent_is_paid_for_its_action():
    config, env = _config(), ActionReward()
    values = joint_values(config, env, train(env, config), _state())
    np.testing.assert_allclose(values, np.add.outer(*env.payoffs), atol=0.1)


def test_truncation_is_an_end_and_the_clock_announces_it():
    config, env = _config(state_clock=True), Deadline()
    trained = train(env, config)
    for step in range(3):
        values = joint_values(config, env, trained, _state(step), elapsed=step)
        np.testing.assert_allclose(values, -(GAMMA ** (2 - step)), atol=0.1)


def test_forbidden_actions_are_neither_taken_nor_believed_in():
    config, env = _config(), ForbiddenFruit()
    trained = train(env, config)
    assert (np.asarray(trained.replay.experience.rewards) >= 0).all()
    values = joint_values(config, env, trained, _state())
    np.testing.assert_allclose(values[2, 2], 1.0, atol=0.1)
    np.testing.assert_allclose(values[:2, :2], 0.0, atol=0.1)
