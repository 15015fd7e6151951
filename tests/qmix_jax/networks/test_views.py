"""What the networks read: raw or encoded observations, the state rebuilt or as given, and the clock."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
from helpers import SPEC

from qmix_jax.networks.views import make_views

ENCODING = replace(
    SPEC,
    encode_observations=lambda seen: jnp.concatenate([seen / 10, seen[:, :1] * seen[:, 1:]], axis=-1),
    encode_state=lambda state: -state[:1],
)
OBSERVATIONS = jnp.arange(20, dtype=jnp.uint8).reshape(5, 2, 2)  # [B, N, O]
STATES = jnp.arange(15, dtype=jnp.float32).reshape(5, 3)
ELAPSED = jnp.array([0, 1, 5, 9, 10], jnp.uint16)


def test_raw_observations_agent_major():
    views = make_views(ENCODING, "raw", state_clock=False)
    seen = views.agents(OBSERVATIONS)
    assert seen.dtype == jnp.float32
    assert (views.num_features, views.state_size) == (2, 3)
    np.testing.assert_array_equal(seen, np.swapaxes(OBSERVATIONS, 0, 1))
    np.testing.assert_array_equal(views.mixer(OBSERVATIONS, STATES, ELAPSED), STATES)


def test_encoded_observations_and_state():
    views = make_views(ENCODING, "env", state_clock=False)
    assert (views.num_features, views.state_size) == (3, 1)
    raw = np.swapaxes(OBSERVATIONS, 0, 1).astype(np.float32)
    expected = np.concatenate([raw / 10, raw[..., :1] * raw[..., 1:]], axis=-1)
    np.testing.assert_allclose(views.agents(OBSERVATIONS), expected)
    np.testing.assert_array_equal(views.mixer(OBSERVATIONS, STATES, ELAPSED), -STATES[:, :1])


def test_without_a_feature_map_both_encodings_are_raw():
    for encoding in ("raw", "env"):
        views = make_views(SPEC, encoding, state_clock=False)
        np.testing.assert_array_equal(views.agents(OBSERVATIONS), np.swapaxes(OBSERVATIONS, 0, 1))


@pytest.mark.parametrize("encoding", ["raw", "env"])
def test_the_clock_is_the_elapsed_fraction(encoding):
    views = make_views(ENCODING, encoding, state_clock=True)
    states = views.mixer(OBSERVATIONS, STATES, ELAPSED)
    assert views.state_size == states.shape[1]
    np.testing.assert_allclose(states[:, -1], np.asarray(ELAPSED) / SPEC.max_steps)


def test_a_squashed_state_keeps_its_signs_and_grows_by_its_logarithm():
    views = make_views(SPEC, "raw", state_clock=False, squash_state=True)
    states = jnp.array([[0.0, np.e - 1, 1 - np.e**2]])
    np.testing.assert_allclose(views.mixer(OBSERVATIONS[:1], states, ELAPSED[:1]), [[0.0, 1.0, -2.0]], rtol=1e-6)


def test_a_state_that_the_observations_hold_is_rebuilt():
    spec = replace(ENCODING, state_from_observations=lambda seen: seen.reshape(-1)[1:])
    raw = make_views(spec, "raw", state_clock=False).mixer(OBSERVATIONS, None, ELAPSED)
    np.testing.assert_array_equal(raw, np.asarray(OBSERVATIONS).reshape(5, 4)[:, 1:])
    encoded = make_views(spec, "env", state_clock=False).mixer(OBSERVATIONS, None, ELAPSED)
    np.testing.assert_array_equal(encoded, -np.asarray(raw)[:, :1])
