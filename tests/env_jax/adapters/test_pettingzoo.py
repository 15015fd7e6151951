"""PettingZoo's own tests, and every number beside `env_jax`."""

import numpy as np
import pytest
from pettingzoo.test import parallel_api_test, parallel_seed_test
from side_by_side import make_step, start_from_observation

from env_jax.adapters.pettingzoo import parallel_env
from env_jax.gridworld.layouts import fixed_start

MODES = ("fixed", "random")


@pytest.mark.parametrize("mode", MODES)
def test_passes_pettingzoos_tests(mode):
    parallel_api_test(parallel_env(mode), num_cycles=250)
    parallel_seed_test(lambda: parallel_env(mode), num_cycles=250)


@pytest.mark.parametrize("mode", MODES)
def test_plays_like_env_jax(mode):
    env = parallel_env(mode, max_steps=40)
    generator, step = np.random.default_rng(0), make_step(40)
    observations, infos = env.reset(seed=0)
    assert infos == {agent: {} for agent in env.agents}
    state = start_from_observation(env.state())
    if mode == "fixed":
        np.testing.assert_array_equal(state.agent_positions, fixed_start(1)[0])
    for t in range(40):
        actions = generator.integers(0, 6, 4)
        state, time_step = step(state, actions)
        observations, rewards, terminations, truncations, _ = env.step(dict(zip(env.agents, actions, strict=True)))
        np.testing.assert_array_equal(env.state(), time_step.state)
        assert env.state() in env.state_space
        for i, agent in enumerate(env.possible_agents):
            assert observations[agent] in env.observation_space(agent)
            np.testing.assert_array_equal(observations[agent], time_step.observations[i])
            assert rewards[agent] == time_step.rewards[i]
            assert (terminations[agent], truncations[agent]) == (False, t == 39)
    assert env.agents == []


def test_all_agents_leave_when_the_last_food_is_collected():
    env = parallel_env()
    env.reset()
    env._environment.agents[:2] = [(3, 3), (9, 9)]
    env._environment.foods = [(3, 4, 1)]
    _, rewards, terminations, truncations, _ = env.step(dict.fromkeys(env.agents, 5))
    assert list(rewards.values()) == [1.0, 0.0, 0.0, 0.0]
    assert set(terminations.values()) == {True}
    assert set(truncations.values()) == {False}
    assert env.agents == []


def test_random_starts_follow_the_seed():
    env = parallel_env("random")
    starts = []
    for seed in (3, None, 3, None, 4):
        env.reset(seed=seed)
        starts.append(env.state())
    np.testing.assert_array_equal(starts[:2], starts[2:4])
    assert (starts[0] != starts[1]).any()
    assert (starts[0] != starts[4]).any()


def test_renders_where_it_is_asked_to():
    env = parallel_env(render_mode="rgb_array")
    env.reset()
    assert env.render().shape == (525, 525, 3)
    assert parallel_env().render() is None


def test_refuses_bad_input():
    for arguments, message in (
        ({"mode": "mode_1"}, "mode must be one of fixed, random, not 'mode_1'"),
        ({"max_steps": 0}, "max_steps must be at least 1, not 0"),
        ({"render_mode": "human"}, "render_mode must be None or rgb_array, not 'human'"),
    ):
        with pytest.raises(ValueError, match=message):
            parallel_env(**arguments)
    env = parallel_env()
    with pytest.raises(ValueError, match="there is no episode"):
        env.step({})
    env.reset()
    with pytest.raises(ValueError, match=r"actions must be given for agent_0, .* not for agent_7"):
        env.step({"agent_7": 0})
