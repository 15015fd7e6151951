"""The environment that adapters step without JAX beside the tests' slow one, in situations of all kinds."""

import numpy as np
from hypothesis import given, settings
from situations import episodes, starts

from env_jax.adapters.numpy_world import NumpyWorld


@settings(max_examples=300, deadline=None, derandomize=True)
@given(starts(), episodes)
def test_plays_like_the_slow_world(slow, actions):
    fast = NumpyWorld(slow.max_steps)
    fast.agents = list(slow.agents)
    fast.foods = [(*food, 1) for food, present in zip(slow.foods, slow.present, strict=True) if present]
    fast.step_count = slow.step_count
    np.testing.assert_array_equal(fast.observe(), slow.observe())
    for joint_action in actions:
        observations, rewards, terminated, truncated = slow.step(joint_action)
        assert fast.step(joint_action) == (rewards.tolist(), terminated, truncated)
        np.testing.assert_array_equal(fast.observe(), observations)
        assert fast.agents == slow.agents


def test_observations_belong_to_their_user():
    environment = NumpyWorld(10)
    environment.start([(x, x) for x in range(8)])
    first = environment.observe()
    first += 1
    assert first.dtype == np.float32
    assert environment.observe()[0, :2].tolist() == [0, 0]
