"""Two-agent matrix games that tell the mixers apart: what each can represent, and what it chooses if it cannot."""

import jax.numpy as jnp
import numpy as np
import pytest
from helpers import joint_values, small_config, train
from probes import Matrix, NonMonotonic, ProbeState

STATE = ProbeState(jnp.int32(0), jnp.float32(1), jnp.int32(0))


REPLAY = {"num_envs": 8, "buffer_capacity": 4000, "min_buffer_size": 64, "batch_size": 32, "train_frequency": 8}
ON_POLICY = {"replay": "none", "num_envs": 32, "batch_size": 32, "epochs": 1}


def _learned(env, vector_steps=1200, lr=1e-2, seed=0, data=REPLAY, **settings):
    """q_tot of every joint action after training on uniform exploration."""
    config = small_config(
        **data,
        total_steps=data["num_envs"] * vector_steps,
        eval_interval=data["num_envs"] * vector_steps,
        lr=lr,
        n_step=1,
        mixing_size=32,
        central_sizes=(32, 32),
        epsilon_end=1.0,
        greedy_envs=0.0,
        **settings,
    )
    return joint_values(config, env, train(env, config, seed), STATE)


def _best(values):
    return np.unravel_index(values.argmax(), values.shape)


@pytest.mark.parametrize("data", [REPLAY, ON_POLICY], ids=["replay", "none"])
def test_qmix_finds_the_best_joint_action_and_knows_every_payoff(data):
    """As published: with --mixer_skip, no agent's value can be without effect, as the payoffs of action 0 demand."""
    env = Matrix()
    values = _learned(env, data=data, mixer_skip=False)
    np.testing.assert_allclose(values, env.payoffs, atol=0.3)
    assert _best(values) == (2, 2)


def test_vdn_finds_the_best_sum():
    """Row mean plus column mean minus mean: the nearest to the payoffs that one value per agent can be."""
    env = Matrix()
    payoffs = np.array(env.payoffs)
    nearest = np.add.outer(payoffs.mean(axis=1), payoffs.mean(axis=0)) - payoffs.mean()
    np.testing.assert_allclose(_learned(env, algorithm="vdn"), nearest, atol=0.6)


def test_qmix_gives_up_the_best_joint_action_of_a_game_that_is_not_monotonic():
    values = _learned(NonMonotonic())
    assert _best(values)[0] > 0
    assert _best(values)[1] > 0
    assert values[0, 0] < 0


@pytest.mark.parametrize("algorithm", ["cw_qmix", "ow_qmix"])
def test_weighted_qmix_finds_the_best_joint_action_of_that_game(algorithm):
    """It cannot know every payoff either, but fits the best joint action."""
    values = _learned(NonMonotonic(), algorithm=algorithm, alpha=0.1, vector_steps=2400)
    assert _best(values) == (0, 0)
    assert values[0, 0] == pytest.approx(8, abs=1.5)


@pytest.mark.parametrize(("algorithm", "vector_steps", "lr"), [("qplex", 6000, 3e-3), ("qplex_gap", 1200, 1e-2)])
def test_qplex_finds_the_best_joint_action_of_that_game_and_knows_every_payoff(algorithm, vector_steps, lr):
    """Its class is complete: it can represent whatever the agents' own best actions can reach."""
    values = _learned(NonMonotonic(), vector_steps, lr, seed=1, algorithm=algorithm, hypernet_size=16)
    np.testing.assert_allclose(values, NonMonotonic().payoffs, atol=0.4)
    assert _best(values) == (0, 0)
