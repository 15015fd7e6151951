"""The vector environment beside `env_jax`, environment by environment, in each of gymnasium's ways to reset."""

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers.vector import RecordEpisodeStatistics
from side_by_side import make_step, start_from_observation

from env_jax.adapters.gymnasium_vector import GridWorldVectorEnv

NUM_ENVS, MAX_STEPS = 3, 4


def make(autoreset_mode):
    return GridWorldVectorEnv(NUM_ENVS, "random", max_steps=MAX_STEPS, autoreset_mode=autoreset_mode)


def joint_actions(generator):
    return generator.integers(-1, 7, (NUM_ENVS, 4))  # some are illegal


class Shadow:
    """The same environments stepped by `env_jax`, from the starts that the adapter shows."""

    def __init__(self, observations):
        self.states = [start_from_observation(numbers) for numbers in observations]

    def step(self, actions):
        """Return last observations, team rewards, terminations, truncations."""
        shown = []
        for i, action in enumerate(actions):
            self.states[i], time_step = make_step(MAX_STEPS)(self.states[i], action)
            shown.append([time_step.state, time_step.rewards.sum(), time_step.terminated, time_step.truncated])
        return [np.array(numbers) for numbers in zip(*shown, strict=True)]


def assert_equal(shown, expected):
    for numbers, others in zip(shown, expected, strict=True):
        np.testing.assert_array_equal(numbers, others)


def test_next_step_shows_the_last_observation_and_then_the_first():
    env, generator = make(AutoresetMode.NEXT_STEP), np.random.default_rng(0)
    assert env.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    observations, info = env.reset(seed=0)
    assert info == {}
    assert observations in env.observation_space
    for _ in range(2):
        shadow = Shadow(observations)
        for t in range(MAX_STEPS):
            actions = joint_actions(generator)
            observations, *shown, info = env.step(actions)
            assert_equal([observations, *shown], shadow.step(actions))
            assert info == {}
            assert shown[2].all() == (t == MAX_STEPS - 1)
        observations, *shown, _ = env.step(joint_actions(generator))
        assert_equal(shown, np.zeros((3, NUM_ENVS)))
        assert observations in env.observation_space
    assert shown[0].dtype == np.float64
    assert shown[1].dtype == shown[2].dtype == bool


def test_same_step_shows_the_first_observation_and_keeps_the_last():
    env, generator = make(AutoresetMode.SAME_STEP), np.random.default_rng(0)
    observations, _ = env.reset(seed=0)
    for _ in range(2):
        shadow = Shadow(observations)
        for _ in range(MAX_STEPS):
            actions = joint_actions(generator)
            observations, *shown, info = env.step(actions)
            last, *expected = shadow.step(actions)
            assert_equal(shown, expected)
            if not info:
                np.testing.assert_array_equal(observations, last)
        np.testing.assert_array_equal(np.stack(info["final_obs"]), last)
        assert info["_final_obs"].all()
        assert (observations != last).any(axis=1).all()


def test_disabled_leaves_the_reset_to_its_user():
    env, generator = make(AutoresetMode.DISABLED), np.random.default_rng(0)
    observations, _ = env.reset(seed=0)
    shadow = Shadow(observations)
    for _ in range(MAX_STEPS - 1):
        actions = joint_actions(generator)
        observations, *shown, _ = env.step(actions)
        assert_equal([observations, *shown], shadow.step(actions))
    first, _ = env.reset(options={"reset_mask": np.array([True, False, True])})
    np.testing.assert_array_equal(first[1], observations[1])
    assert (first[[0, 2]] != observations[[0, 2]]).any(axis=1).all()
    shadow.states[0], shadow.states[2] = map(start_from_observation, first[[0, 2]])
    actions = joint_actions(generator)
    observations, *shown, _ = env.step(actions)
    assert_equal([observations, *shown], shadow.step(actions))
    assert shown[2].tolist() == [False, True, False]
    with pytest.raises(ValueError, match=r"environments \[1\] have ended"):
        env.step(actions)
    env.reset(options={"reset_mask": np.array([False, True, False])})
    assert not env.step(actions)[3].any()


def test_seeds():
    env = make(AutoresetMode.NEXT_STEP)
    first, _ = env.reset(seed=2**32 - 1)
    second, _ = env.reset()
    assert (first != second).any(axis=1).all()
    np.testing.assert_array_equal(env.reset(seed=[2**32 - 1, 0, 1])[0], first)
    np.testing.assert_array_equal(env.reset()[0], second)
    np.testing.assert_array_equal(GridWorldVectorEnv(1, "random", max_steps=MAX_STEPS).reset(seed=1)[0], first[2:])
    only_first, _ = env.reset(seed=7, options={"reset_mask": np.array([True, False, False])})
    np.testing.assert_array_equal(only_first[1:], second[1:])
    np.testing.assert_array_equal(only_first[0], env.reset(seed=7)[0][0])
    unseeded = [make(AutoresetMode.NEXT_STEP).reset()[0] for _ in range(2)]
    assert (unseeded[0] != unseeded[1]).any()


def test_the_team_is_paid_for_its_foods_under_gymnasiums_wrapper():
    """All agents collect for ever from the fixed start: no food is near, so that the penalty is all they get."""
    env = RecordEpisodeStatistics(GridWorldVectorEnv(2, "fixed", max_steps=3))
    env.reset(seed=0)
    for _ in range(3):
        *_, info = env.step(np.full((2, 4), 5))
    assert info["episode"]["r"].tolist() == [-8.0, -8.0]  # 4 agents times half of 4 foods
    assert info["episode"]["l"].tolist() == [3, 3]


def test_spaces():
    env = make("SameStep")
    assert env.single_action_space == gymnasium.spaces.MultiDiscrete([6] * 4)
    assert env.action_space.shape == (NUM_ENVS, 4)
    assert env.single_observation_space.shape == (72,)


def test_refuses_bad_input():
    with pytest.raises(ValueError, match="num_envs must be at least 1, not 0"):
        GridWorldVectorEnv(0)
    with pytest.raises(ValueError, match="'Never' is not a valid AutoresetMode"):
        make("Never")
    env = make(AutoresetMode.NEXT_STEP)
    with pytest.raises(ValueError, match="there is no episode"):
        env.step(np.zeros((NUM_ENVS, 4)))
    with pytest.raises(ValueError, match=r"after a first reset without one"):
        env.reset(options={"reset_mask": np.ones(NUM_ENVS, bool)})
    with pytest.raises(ValueError, match="seed must be an integer or 3 of them, not 2"):
        env.reset(seed=[1, 2])
    env.reset()
    with pytest.raises(ValueError, match=r"reset_mask must be bool\[3\]"):
        env.reset(options={"reset_mask": np.ones(2, bool)})
    with pytest.raises(ValueError, match=r"actions must have the shape \(3, 4\), not \(4,\)"):
        env.step(np.zeros(4))
