"""A recording holds what stepping by hand shows, before every step and after the last one."""

import jax
import numpy as np

from env_jax import GridWorld25, LastAction
from env_jax.recording import cut, record


def test_a_recording_is_what_the_steps_show():
    environment = LastAction(GridWorld25("random", max_steps=6))
    state, time_step = jax.jit(environment.reset)(jax.random.key(0))
    actions = np.random.default_rng(0).integers(0, 6, (6, 4)).astype(np.int32)
    recording = jax.jit(lambda *start: record(environment, *start, actions))(state, time_step)
    step = jax.jit(environment.step)
    expected = [(state, time_step)]
    for action in actions:
        expected.append(step(jax.random.key(2), expected[-1][0], action))
    states, time_steps = jax.tree.map(lambda *leaves: np.stack(leaves), *expected)
    jax.tree.map(np.testing.assert_array_equal, (recording.states, recording.time_steps), (states, time_steps))
    assert recording.time_steps.truncated.tolist() == [False] * 6 + [True]

    shorter = cut(recording, 2)
    assert shorter.states.step_count.tolist() == [0, 1, 2]
    assert shorter.time_steps.observations.shape == (3, 4, 19)
    np.testing.assert_array_equal(shorter.actions, actions[:2])
