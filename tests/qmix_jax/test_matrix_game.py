"""A two-agent matrix game that needs a mixer: no sum of one value per agent knows its payoffs."""

import jax.numpy as jnp
import numpy as np
from helpers import joint_values, small_config, train
from probes import Matrix, ProbeState


def test_the_best_joint_action_is_found_and_every_payoff_known():
    env = Matrix()
    config = small_config(
        num_envs=8,
        total_steps=8 * 1200,
        eval_interval=8 * 1200,
        buffer_capacity=4000,
        min_buffer_size=64,
        batch_size=32,
        train_frequency=8,
        lr=1e-2,
        n_step=1,
        mixing_size=32,
        epsilon_end=1.0,
    )
    state = ProbeState(jnp.int32(0), jnp.float32(1), jnp.int32(0))
    values = joint_values(config, env, train(env, config), state)
    np.testing.assert_allclose(values, env.payoffs, atol=0.3)
    assert np.unravel_index(values.argmax(), values.shape) == (2, 2)
