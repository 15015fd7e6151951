"""The whole trainer on environments with known values: each catches one kind of mistake in seconds."""

import jax.numpy as jnp
import numpy as np
import pytest
from helpers import joint_values, small_config, train
from probes import ActionReward, ConstantReward, CueReward, Deadline, ForbiddenFruit, ProbeState, Remember, TwoSteps

from qmix_jax.config import Config
from qmix_jax.learning.central_value import ValueNetwork
from qmix_jax.learning.learner import make_learner
from qmix_jax.learning.model import make_networks
from qmix_jax.networks.mixers import value_actions

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


OF_REPLAY = ("buffer_capacity", "min_buffer_size", "train_frequency", "target_update_interval")  # refused without it
ON_POLICY = {"replay": "none", "batch_size": 8, "sequence_length": 4, "epochs": 1, "target": "q_lambda"}
ON_POLICY |= {name: getattr(Config, name) for name in OF_REPLAY}


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


@pytest.mark.parametrize(("agent", "start"), [("gru", "any"), ("gru", "episode"), ("mlp", "any")])
def test_only_a_memory_knows_what_was_shown_before(agent, start):
    env, mixed = Remember(), {}
    config = _config(3600, agent=agent, sequence_length=2, sequence_start=start, hidden_sizes=(16,))
    trained = train(env, config)
    learner, networks = make_learner(config, env.spec), make_networks(config, env.spec)
    params, actions = trained.learner.params, jnp.zeros((2, 1), jnp.int32)
    for cue in (-1.0, 1.0):
        memory = learner.init_memory(1)
        for step in range(2):
            state = _state(step, cue)
            q_values, memory = learner.q_values(params, env.observations(state)[None], memory)
            values = value_actions(q_values, actions, env.action_mask(state)[None])
            mixed[step, cue] = networks.mixer.apply(params["mixer"], values, env.global_state(state)[None]).item()
    for (step, cue), value in mixed.items():
        known = cue if agent == "gru" else 0.0
        assert value == pytest.approx(known if step else GAMMA * known, abs=0.15)


@pytest.mark.parametrize("target", ["q_lambda", "td_lambda"])
@pytest.mark.parametrize("td_lambda", [0.0, 0.7, 1.0])
def test_lambda_targets_end_with_their_episode(target, td_lambda):
    """Sequences of four steps hold two episodes."""
    config = _config(target=target, sequence_length=4, gamma=0.8)
    env = TwoSteps(first=-1.0)
    trained = train(env, config, td_lambda=td_lambda)
    for step, value in enumerate(env.values(0.8)):
        np.testing.assert_allclose(joint_values(config, env, trained, _state(step)), value, atol=0.1)


@pytest.mark.parametrize(
    "settings",
    [
        {"algorithm": "vdn"},
        {"algorithm": "qplex"},
        {"algorithm": "qplex_gap"},
        {"sequence_start": "episode", "sequence_length": 3},
        {"layer_norm": False, "dueling": False, "hypernet_layers": 1, "value_size": 4, "initializer": "torch"},
        {"mixer_skip": False},
        {"algorithm": "cw_qmix", "central_sizes": (16,)},
        {"algorithm": "ow_qmix", "central_sizes": (16,)},
        {"replay": "prioritised"},
        ON_POLICY,
        {**ON_POLICY, "algorithm": "vdn", "agent": "gru", "batch_size": 4, "target": "td_lambda"},
        {"target_update_interval": 1, "target_tau": 0.05},
        {"optimizer": "radam"},
        {"reward_scale": 1.0, "agent": "gru", "sequence_length": 3},
    ],
    ids=str,
)
def test_every_member_of_the_family_learns_a_value(settings):
    config, env = _config(1200, **settings), TwoSteps(last=1.0)
    trained = train(env, config)
    if config.agent == "gru":  # its second step is never met without the memory of the first
        np.testing.assert_allclose(joint_values(config, env, trained, _state(0)), GAMMA, atol=0.15)
        return
    for step, value in enumerate(env.values(GAMMA)):
        np.testing.assert_allclose(joint_values(config, env, trained, _state(step)), value, atol=0.15)


def test_standardised_rewards_and_beside_them_a_central_value_in_plain_ones():
    """Rewards 0 and 1, as often: standardised -1 and 1."""
    config = _config(1200, standardise_rewards=True, central_value=True, central_sizes=(16,))
    env = TwoSteps(last=1.0)
    trained = train(env, config)
    central, network = trained.learner.central, ValueNetwork(config.central_sizes)
    for step, (plain, standardised) in enumerate(((GAMMA, GAMMA - 1.0), (1.0, 1.0))):
        np.testing.assert_allclose(joint_values(config, env, trained, _state(step)), standardised, atol=0.15)
        seen = env.observations(_state(step)).reshape(1, -1)
        np.testing.assert_allclose(network.apply(central.params, seen), plain, atol=0.05)


def test_independent_learners_know_the_reward_of_the_team_or_their_own():
    """Agents are paid 1/4 and 3/4: the team 1, whatever they do."""
    for algorithm, expected in (("iql", (1.0, 1.0)), ("madqn", (0.25, 0.75))):
        config, env = _config(algorithm=algorithm), ConstantReward()
        learner = make_learner(config, env.spec)
        params = train(env, config).learner.params
        q_values, _ = learner.q_values(params, env.observations(_state())[None], learner.init_memory(1))
        for agent in range(2):
            np.testing.assert_allclose(q_values[agent], expected[agent], atol=0.05)
