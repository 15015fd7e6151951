"""Steps, resets, what is logged and what is stored, over episode boundaries."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import quick_jit, small_config
from probes import Corridor

from qmix_jax.training.exploration import choose_actions, decay_shares, final_epsilons, free_exploration
from qmix_jax.training.rollout import step_environments
from qmix_jax.training.trainer import make_trainer

ENVS = 48
env = Corridor(max_steps=4)
choose = quick_jit(choose_actions, static_argnums=5)


@pytest.fixture(scope="module")
def stepped():
    """Environments reset and stepped once; agent 0 ended every third one."""
    states, first = quick_jit(jax.vmap(env.reset))(jax.random.split(jax.random.key(0), ENVS))
    actions = jnp.zeros((ENVS, 2), jnp.int32).at[::3, 0].set(2)
    step = quick_jit(step_environments, static_argnums=0)
    return first, actions, step(env, jax.random.key(1), states, actions)


def test_an_ended_episode_goes_on_from_a_reset(stepped):
    first, _, (states, shown, reached, _) = stepped
    ended = np.arange(ENVS) % 3 == 0
    np.testing.assert_array_equal(reached.terminated, ended)
    assert not reached.truncated.any()
    np.testing.assert_array_equal(states.step, np.where(ended, 0, 1))
    np.testing.assert_array_equal(shown.observations[:, 0, 1], np.where(ended, 0, 1))
    np.testing.assert_array_equal(reached.observations[:, :, 1], np.ones((ENVS, 2)))  # what the actions led to
    np.testing.assert_array_equal(reached.rewards, np.tile([0.0, 10.0], (ENVS, 1)))
    # Others keep their cue; an ended one draws a new one, each its own.
    cues, new_cues = first.observations[:, 0, 0], shown.observations[:, 0, 0]
    np.testing.assert_array_equal(new_cues[~ended], cues[~ended])
    assert set(np.asarray(new_cues[ended] * cues[ended]).tolist()) == {-1.0, 1.0}
    assert not (shown.terminated | shown.truncated)[ended].any()
    np.testing.assert_array_equal(shown.rewards[ended], np.zeros((16, 2)))


def test_actions_are_chosen_for_each_agent_of_each_environment():
    """Greedy: the Q-values' agent-major layout and the mask's environment-major one must meet."""
    q_values = jax.random.normal(jax.random.key(0), (2, ENVS, 3))  # [N, E, A]
    mask = np.array(jax.random.bernoulli(jax.random.key(1), 0.6, (ENVS, 2, 3)))
    mask[..., 0] |= ~mask.any(axis=-1)
    _, actions = choose(
        jax.random.key(2), free_exploration(ENVS, 2), q_values, jnp.asarray(mask), jnp.zeros((ENVS, 2)), 8
    )
    expected = np.where(mask, np.swapaxes(q_values, 0, 1), -np.inf).argmax(axis=-1)
    np.testing.assert_array_equal(actions, expected)
    assert actions.dtype == jnp.int32


def test_agents_and_environments_explore_independently():
    mask = jnp.ones((2000, 2, 3), bool)
    free, zeros, key = free_exploration(2000, 2), jnp.zeros((2, 2000, 3)), jax.random.key(2)
    exploration, actions = choose(key, free, zeros, mask, jnp.ones((2000, 2)), 3)
    joint = np.bincount(3 * np.asarray(actions[:, 0]) + actions[:, 1], minlength=9) / 2000
    np.testing.assert_allclose(joint, 1 / 9, atol=0.03)
    np.testing.assert_array_equal(exploration.action, actions)
    lengths = np.asarray(exploration.remaining)
    joint = np.bincount(3 * lengths[:, 0] + lengths[:, 1], minlength=9) / 2000
    marginal = np.array([36, 9, 4]) / 49  # 1, 1/4 and 1/9
    np.testing.assert_allclose(joint, np.outer(marginal, marginal).ravel(), atol=0.03)


def test_every_agent_of_every_environment_has_its_own_exploration_rate():
    """Of a third of the environments agent 1 explores always; nobody else does."""
    mask, q_values = jnp.ones((900, 2, 3), bool), jnp.zeros((2, 900, 3)).at[..., 2].set(1.0)
    epsilons = final_epsilons(900, 2 / 3, 1.0)[:, None] * jnp.array([[0.0, 1.0]])
    _, actions = choose(jax.random.key(2), free_exploration(900, 2), q_values, mask, epsilons, 3)
    assert (actions[:600] == 2).all()
    assert (actions[:, 0] == 2).all()
    assert (actions[600:, 1] == 2).mean() == pytest.approx(1 / 3, abs=0.09)


STEPS, NUM_ENVS, GAMMA, SPREAD = 40, 5, 0.9, 0.5


@pytest.fixture(scope="module")
def run():
    """Forty vector steps of the whole trainer; updates begin in the middle."""
    config = small_config(
        num_envs=NUM_ENVS,
        total_steps=STEPS * NUM_ENVS,
        eval_interval=STEPS * NUM_ENVS,
        buffer_capacity=STEPS * NUM_ENVS,
        min_buffer_size=STEPS * NUM_ENVS // 2,
        train_frequency=2,
        batch_size=4,
        gamma=GAMMA,
        epsilon_end=0.5,
        epsilon_decay_steps=STEPS * NUM_ENVS // 2,
        greedy_envs=0.4,
        epsilon_spread=SPREAD,
    )
    trainer = make_trainer(config, env)
    state, log = quick_jit(lambda key: trainer.train_chunk(trainer.init(key)))(jax.random.key(0))
    return state, jax.tree.map(np.asarray, state.replay.experience), jax.tree.map(np.asarray, log)


def test_stored_steps_follow_each_other_over_episode_boundaries(run):
    state, stored, _ = run
    step = stored.observations[:, :, 0, 1]
    assert step.shape == (NUM_ENVS, STEPS)
    ended = (stored.actions[:, :, 0] == 2) | (step == 3)
    np.testing.assert_array_equal(stored.done, ended)
    assert 0 < stored.done.mean() < 1
    np.testing.assert_array_equal(step[:, 1:], np.where(ended, 0, step + 1)[:, :-1])  # the next episode after an end
    np.testing.assert_array_equal(stored.elapsed, step)
    np.testing.assert_array_equal(stored.state[..., 0], step)
    np.testing.assert_array_equal(stored.rewards, step[..., None] + np.array([0, 10]))
    np.testing.assert_array_equal(state.time_step.observations[:, 0, 1], np.where(ended, 0, step + 1)[:, -1])
    # A cue changes only where an episode ended.
    cue = stored.observations[:, :, 0, 0]
    assert ((cue[:, 1:] == cue[:, :-1]) | ended[:, :-1]).all()


def test_nobody_goes_on_repeating_over_the_end_of_an_episode(run):
    """A repeated action is seldom broken off within an episode, and is not favoured after its end."""
    state, stored, _ = run
    assert (np.asarray(state.exploration.remaining)[stored.done[:, -1]] == 0).all()
    repeats = (stored.actions[:, 1:] == stored.actions[:, :-1]).mean(axis=-1)
    within, over = repeats[~stored.done[:, :-1]].mean(), repeats[stored.done[:, :-1]].mean()
    assert within > over + 0.05


def test_every_finished_episode_is_logged(run):
    state, stored, log = run
    np.testing.assert_array_equal(log.finished, stored.done.T)
    for number in range(NUM_ENVS):
        total, length = 0.0, 0
        for step in range(STEPS):
            total += GAMMA**length * stored.rewards[number, step].sum()
            length += 1
            if stored.done[number, step]:
                assert log.episode_return[step, number] == pytest.approx(total, rel=1e-6)
                assert log.episode_length[step, number] == length
                total, length = 0.0, 0
        assert state.episodes.length[number] == length
        assert state.episodes.discounted_return[number] == pytest.approx(total, rel=1e-6)


def test_epsilon_falls_with_the_steps_of_all_environments(run):
    """Over half the run, 100 environment steps, or less: three environments from 1 to 1/2, two from 1 to 0."""
    _, _, log = run
    decay_steps = 100 * np.asarray(decay_shares(NUM_ENVS, 2, SPREAD))
    decayed = np.minimum(np.arange(STEPS)[:, None, None] * NUM_ENVS / decay_steps, 1)
    falls = np.array([1.0, 1.0, 0.5, 0.5, 0.5])[:, None] * decayed
    np.testing.assert_allclose(log.epsilon, 1 - falls.mean(axis=(1, 2)), rtol=1e-5)


def test_losses_belong_to_the_episodes_time(run):
    _, _, log = run
    finished = log.finished
    # Two updates and a half per vector step, after the first twenty.
    before, after = finished[:20], finished[20:]
    for metric in log.updates:
        assert not metric[:20][before].any()
        assert np.isfinite(metric[20:][after]).all()
    assert not log.num_updates[:20][before].any()
    assert log.num_updates[20:][after].all()
    # Episodes that ran over the same steps saw the same updates.
    pairs = [
        (step, first, second)
        for step in range(20, STEPS)
        for first in range(NUM_ENVS)
        for second in range(first)
        if finished[step, first]
        and finished[step, second]
        and log.episode_length[step, first] == log.episode_length[step, second]
    ]
    assert pairs
    for step, first, second in pairs:
        assert log.updates.loss[step, first] == log.updates.loss[step, second]
