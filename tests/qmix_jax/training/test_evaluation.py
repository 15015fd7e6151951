"""Evaluation: exact on a small environment, the spec's figures on GridWorld25."""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import quick_jit, small_config
from probes import Corridor, ForbiddenFruit

from env_jax import GridWorld25, greedy_nearest
from qmix_jax.training.evaluation import SCORE_DISCOUNT, evaluate, play_episodes, random_policy, share_of_best
from qmix_jax.training.trainer import make_trainer

LIMIT, EPISODES = 4, 20


@dataclass(frozen=True)
class ScoredCorridor(Corridor):
    """A corridor whose best return is a hundred discounts, and that reports the step it stands at."""

    @property
    def spec(self):
        return replace(
            super().spec,
            best_return=lambda state, discount: 100.0 * discount + state.step.astype(jnp.float32),
            episode_metrics=lambda state: {"final_step": state.step.astype(jnp.float32), "cue": state.cue},
            success=lambda state: state.step < self.max_steps,
        )


def end_early_on_positive_cues(_, time_step, memory):
    """Agent 0 ends the episode with its second step if the cue is 1; otherwise the time limit does."""
    cue, step = time_step.observations[:, 0, 0], time_step.observations[:, 0, 1]
    ending = jnp.where((cue > 0) & (step == 1), 2, 0)
    return jnp.stack([ending, jnp.zeros_like(ending)], axis=-1), memory


def test_lengths_returns_and_shares_are_exact():
    """The corridor pays on and on, so an episode that were not frozen at its end would show."""

    def play(key):
        team = ScoredCorridor(max_steps=LIMIT), end_early_on_positive_cues
        return evaluate(*team, jax.random.clone(key), EPISODES), play_episodes(*team, key, EPISODES)

    result, episodes = quick_jit(play)(jax.random.key(0))
    share = (float(result.extra["cue"]) + 1) / 2  # of episodes with cue 1
    assert share * EPISODES == pytest.approx(round(share * EPISODES))
    assert 0 < share < 1
    early, late = (sum(SCORE_DISCOUNT**t * (2 * t + 10) for t in range(length)) for length in (2, LIMIT))
    assert result.mean_length == pytest.approx(share * 2 + (1 - share) * LIMIT)
    assert result.extra["final_step"] == result.mean_length
    assert result.solved == pytest.approx(share)
    assert result.mean_return == pytest.approx(share * early + (1 - share) * late, rel=1e-5)
    assert result.optimality == pytest.approx(float(result.mean_return) / (100 * SCORE_DISCOUNT), rel=1e-5)

    cues = np.asarray(episodes.starts.cue)
    assert cues.mean() == pytest.approx(float(result.extra["cue"]))
    np.testing.assert_array_equal(episodes.lengths, np.where(cues > 0, 2, LIMIT))
    np.testing.assert_array_equal(episodes.solved, cues > 0)
    np.testing.assert_allclose(episodes.returns, np.where(cues > 0, early, late), rtol=1e-5)
    np.testing.assert_array_equal(episodes.extra["final_step"], episodes.lengths)


def test_the_random_policy_draws_evenly_from_what_is_allowed():
    mask = np.zeros((2_000, 2, 3), bool)
    mask[:, 0, [0, 2]] = mask[:, 1, 1] = True
    shown = ScoredCorridor().reset(jax.random.key(0))[1].replace(action_mask=mask)
    actions, memory = quick_jit(random_policy)(jax.random.key(1), shown, 7)
    assert memory == 7
    assert np.bincount(actions[:, 0], minlength=3) == pytest.approx([1_000, 0, 1_000], abs=100)
    assert set(actions[:, 1].tolist()) == {1}


def _trained(env, gamma, favourite, **settings):
    """Return evaluation of a team whose networks prefer one action by far."""
    config = small_config(gamma=gamma, eval_episodes=EPISODES, buffer_capacity=640, min_buffer_size=0, **settings)
    trainer = make_trainer(config, env)
    params = jax.eval_shape(trainer.init, jax.random.key(0)).learner.params
    params = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), params)
    params["agents"]["params"]["advantage"]["bias"] += 5.0 * jax.nn.one_hot(favourite, 3)[None]
    return quick_jit(trainer.evaluate)(params, jax.random.key(0))


def test_the_score_has_a_discount_of_its_own():
    result = _trained(ScoredCorridor(max_steps=LIMIT), 0.5, favourite=1)
    assert SCORE_DISCOUNT == 0.95
    expected = sum(0.95**t * (2 * t + 10) for t in range(LIMIT))
    assert (result.mean_length, result.solved) == (LIMIT, 0)
    assert result.mean_return == pytest.approx(expected, rel=1e-5)
    assert result.optimality == pytest.approx(expected / 95, rel=1e-5)
    assert result.best_return == pytest.approx(95)
    assert result.q_bound == pytest.approx(50)  # at the discount that trained


def test_standardised_rewards_have_no_bound():
    result = _trained(ScoredCorridor(max_steps=LIMIT), 0.5, favourite=1, standardise_rewards=True)
    assert result.q_bound is None
    assert result.best_return == pytest.approx(95)


def test_the_greedy_team_does_as_it_prefers_and_only_what_is_allowed():
    """Action 2 pays 1 at once and is forbidden in the second step, where it would cost 20."""
    result = _trained(ForbiddenFruit(), 0.9, favourite=2)
    assert (result.mean_return, result.mean_length, result.solved) == (1, 2, None)  # it defines no success
    assert (result.optimality, result.best_return, result.q_bound) == (None, None, None)  # it doesn't know its best
    assert result.extra == {}


@pytest.mark.parametrize("best_return", [-9.05, 0.0, np.nan])
def test_there_is_no_share_of_a_best_return_that_is_not_above_0(best_return):
    for mean_return in (-27.1, -9.05, 0.0, 1.0):
        assert np.isnan(share_of_best(jnp.float32(mean_return), jnp.float32(best_return)))
    assert share_of_best(jnp.float32(-1.0), jnp.float32(4.0)) == -0.25


def test_greedy_nearest_reaches_the_specs_figures():
    """Of 1,000 random starts: 88.7 % of the best possible return, 92.7 % solved, 37.8 steps."""

    def policy(key, time_step, memory):
        return jax.vmap(greedy_nearest)(jax.random.split(key, 1000), time_step.observations), memory

    play = jax.jit(lambda key: evaluate(GridWorld25("random"), policy, key, 1000))
    result = play(jax.random.key(0))
    assert result.optimality == pytest.approx(0.887, abs=0.03)
    assert result.mean_return == pytest.approx(2.355, abs=0.1)
    assert result.solved == pytest.approx(0.927, abs=0.04)
    assert result.mean_length == pytest.approx(37.8, abs=6)
    assert 3.7 < result.extra["foods_collected"] <= 4
