"""Weighted QMIX: its weights by hand, and its loss against slow NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import (
    SPEC,
    make_plain_loss,
    numpy_central,
    numpy_q_tot,
    numpy_q_values,
    quick_jit,
    random_batch,
    randomize,
    small_config,
)

from qmix_jax.learning.algorithms import central_weights, optimistic_weights
from qmix_jax.learning.learner import make_learner

GAMMA, ALPHA, ROWS = 0.9, 0.3, 24


def test_weights_by_hand():
    q_tot, target, best = jnp.array([1.0, 1.0, 1.0, 1.0]), jnp.array([2.0, 0.5, 0.5, 3.0]), jnp.full(4, 2.5)
    is_best = jnp.array([False, False, True, False])
    np.testing.assert_allclose(optimistic_weights(q_tot, target, best, is_best, 0.3), [1.0, 0.3, 0.3, 1.0])
    np.testing.assert_allclose(central_weights(q_tot, target, best, is_best, 0.3), [0.3, 0.3, 1.0, 1.0])


def _values(params, batch, row, t):
    networks = [jax.tree.map(lambda x, i=i: x[i], params["agents"]) for i in range(SPEC.num_agents)]
    return [numpy_q_values(net, seen) for net, seen in zip(networks, batch.observations[row, t], strict=True)]


def _allowed_best(values, batch, row, t):
    mask = np.asarray(batch.action_mask[row, t])
    return [max(np.flatnonzero(allowed), key=q.__getitem__) for q, allowed in zip(values, mask, strict=True)]


@pytest.mark.parametrize("algorithm", ["cw_qmix", "ow_qmix"])
@pytest.mark.parametrize("double_q", [True, False])
def test_the_loss_is_the_slow_one(algorithm, double_q):
    settings = {"hidden_sizes": (6,), "mixing_size": 4, "hypernet_size": 5, "central_sizes": (5, 4), "encoding": "raw"}
    config = small_config(
        algorithm=algorithm, gamma=GAMMA, n_step=1, alpha=ALPHA, double_q=double_q, state_clock=False, **settings
    )
    shapes = jax.eval_shape(make_learner(config, SPEC).init, jax.random.key(0)).params
    params, target_params = (jax.device_get(randomize(shapes, seed, scale=0.4)) for seed in (1, 2))
    batch = random_batch(np.random.default_rng(0), ROWS, 2)
    batch = jax.device_get(batch.replace(done=batch.done.at[::5, 0].set(True)))  # thousands of numbers are read

    losses, weights = [], []
    for row in range(ROWS):
        first, last = (np.asarray(batch.state[row, t], np.float64) for t in (0, 1))
        taken = np.asarray(batch.actions[row, 0])
        values, central = (_values(part, batch, row, 0) for part in (params, params["central"]))

        def chosen(values, actions):
            return np.array([q[a] for q, a in zip(values, actions, strict=True)])

        actions = _allowed_best(_values(params if double_q else target_params, batch, row, 1), batch, row, 1)
        following = chosen(_values(target_params["central"], batch, row, 1), actions)
        value = numpy_central(target_params["central"]["mixer"], following, last)
        target = float(batch.rewards[row, 0].sum()) + GAMMA * (not batch.done[row, 0]) * value

        q_tot = numpy_q_tot(params["mixer"], chosen(values, taken), first)
        q_star = numpy_central(params["central"]["mixer"], chosen(central, taken), first)
        greedy = _allowed_best(values, batch, row, 0)
        target_central = _values(target_params["central"], batch, row, 0)
        best = numpy_central(target_params["central"]["mixer"], chosen(target_central, greedy), first)
        promising = q_tot < target if algorithm == "ow_qmix" else target > best or list(taken) == greedy
        weights.append(1.0 if promising else ALPHA)
        losses.append(weights[-1] * (q_tot - target) ** 2 + (q_star - target) ** 2)

    assert 0 < np.mean(np.array(weights) == 1) < 1
    loss, _ = quick_jit(make_plain_loss(config))(params, target_params, batch)
    assert loss == pytest.approx(np.mean(losses), rel=1e-4)
