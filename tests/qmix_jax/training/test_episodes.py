"""Totals of the running episodes and the rows that finished ones leave, by hand."""

import jax.numpy as jnp
import numpy as np
import pytest

from qmix_jax.training.rollout import advance_episodes, init_episodes
from qmix_jax.types import EpisodeMetrics, UpdateMetrics

GAMMA = 0.5


def _sums(**known):
    """Sums of a step's updates; episodes have no use for those that are not given."""
    return UpdateMetrics(*(jnp.float32(known.get(name, 99.0)) for name in UpdateMetrics._fields))


def _advance(episodes, rewards, finished, sums=(0.0, 0.0, 0.0), updates=0):
    return advance_episodes(
        episodes,
        jnp.array(rewards),
        jnp.array(finished),
        _sums(**dict(zip(EpisodeMetrics._fields, sums, strict=True))),
        jnp.int32(updates),
        jnp.float32(0.3),
        GAMMA,
    )


def test_returns_and_lengths():
    """Two environments of two agents; the team's rewards are 3 and 10, then 4 and 20, then 8 and 40."""
    episodes, log = _advance(init_episodes(2), [[1.0, 2.0], [5.0, 5.0]], [False, True])
    np.testing.assert_array_equal(log.finished, [False, True])
    assert (log.episode_return[1], log.episode_length[1]) == (10, 1)
    assert log.epsilon == pytest.approx(0.3)
    episodes, log = _advance(episodes, [[0.0, 4.0], [10.0, 10.0]], [False, False])
    assert not log.finished.any()
    episodes, log = _advance(episodes, [[4.0, 4.0], [20.0, 20.0]], [True, True])
    np.testing.assert_array_equal(log.episode_return, [3 + 4 / 2 + 8 / 4, 20 + 40 / 2])  # the second began again
    np.testing.assert_array_equal(log.episode_length, [3, 2])
    for total in (episodes.length, episodes.discounted_return, episodes.update_sums, episodes.updates):
        np.testing.assert_array_equal(total, np.zeros_like(total))


def test_an_episode_reports_the_mean_over_its_own_updates():
    episodes, log = _advance(init_episodes(2), np.zeros((2, 2), np.float32), [False, True])
    assert (log.num_updates[1], log.updates.loss[1]) == (0, 0)  # an episode without updates has no loss
    # Two updates with losses 1 and 3, errors summing to 8, values to -2; then two more with sums 40, 4, 12.
    episodes, log = _advance(episodes, np.zeros((2, 2), np.float32), [False, True], (4.0, 8.0, -2.0), 2)
    assert [metric[1] for metric in log.updates] == [2, 4, -1]  # the second environment's second episode
    episodes, log = _advance(episodes, np.zeros((2, 2), np.float32), [True, True], (40.0, 4.0, 12.0), 2)
    assert [metric[0] for metric in log.updates] == [44 / 4, 12 / 4, 10 / 4]  # the first one's episode saw all four
    assert [metric[1] for metric in log.updates] == [20, 2, 6]


def test_a_vector_step_reports_the_mean_over_its_updates():
    sums = UpdateMetrics(*map(jnp.float32, range(len(UpdateMetrics._fields))))
    updates = jnp.int32(2)
    arguments = (jnp.zeros((1, 2)), jnp.zeros(1, bool), sums, updates, jnp.float32(0.3), GAMMA)
    _, log = advance_episodes(init_episodes(1), *arguments)
    np.testing.assert_array_equal(log.step_updates, np.arange(len(UpdateMetrics._fields)) / 2)
    assert log.num_step_updates == 2
    _, log = _advance(init_episodes(1), [[0.0, 0.0]], [False])
    assert log.num_step_updates == 0
    assert np.isfinite(log.step_updates.grad_norm)  # 0 / 0 would stop a run under JAX_DEBUG_NANS


def test_a_new_episode_owes_nothing_to_the_last():
    episodes, _ = _advance(init_episodes(1), [[1.0, 1.0]], [True], (5.0, 5.0, 5.0), 1)
    _, log = _advance(episodes, [[1.0, 1.0]], [True])
    assert (log.episode_return[0], log.episode_length[0]) == (2, 1)
    assert (log.num_updates[0], log.updates.loss[0]) == (0, 0)


def test_a_discount_of_zero_keeps_the_first_reward():
    metrics = _sums()
    episodes = init_episodes(1)
    for _ in range(2):
        episodes, log = advance_episodes(
            episodes, jnp.ones((1, 2)), jnp.zeros(1, bool), metrics, jnp.int32(0), jnp.float32(0), 0.0
        )
    assert log.episode_return[0] == 2
