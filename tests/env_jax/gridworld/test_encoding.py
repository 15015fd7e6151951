"""Network inputs: of order one, and nothing that the raw observation says is lost."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from env_jax.gridworld.encoding import encode_observations, encode_state
from env_jax.gridworld.observations import observe


@pytest.fixture(scope="module")
def views():
    """Raw observations of random situations with 0..4 foods left, float32[64, 4, 18]."""
    rng = np.random.default_rng(0)
    agents, foods = rng.integers(0, 25, (2, 64, 4, 2), dtype=np.int32)
    return jax.vmap(observe)(jnp.asarray(agents), jnp.asarray(foods), jnp.asarray(rng.random((64, 4)) < 0.6))


def test_one_view_by_hand():
    view = np.zeros((4, 18), np.float32)
    view[0] = [24, 0, 1, 12, 12, 1, 24, 6, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]
    neighbour = [-0.5, 0.5, 0.95**24, 0]
    first_food = [1, 0, 0.25, 0.95**6, 0, 0, 1]
    second_food = [1, -1, 0, 0.95**24, 0, -1, 0]
    expected = [1, -1, *neighbour, *first_food, *second_food, *[0] * 7, *first_food]
    np.testing.assert_allclose(encode_observations(jnp.asarray(view))[0], expected, atol=1e-6)


def test_what_is_one_step_away_is_adjacent():
    view = np.zeros((4, 18), np.float32)
    view[0] = [5, 5, 1, 5, 4, 1, 5, 6, 1, 6, 6, 1, 0, 0, 0, 0, 0, 0]
    features = encode_observations(jnp.asarray(view))[0]
    assert features[5] == 1
    assert features[10::7].tolist() == [1, 0, 0, 1]


def test_the_nearest_food_comes_once_more(views):
    encoded = np.asarray(jax.vmap(encode_observations)(views))
    for view, features in zip(views.reshape(-1, 18), encoded.reshape(-1, 34), strict=True):
        distances = [
            abs(x - view[0]) + abs(y - view[1]) if on else np.inf for x, y, on in np.asarray(view[6:15]).reshape(3, 3)
        ]
        np.testing.assert_array_equal(features[27:], features[6:27].reshape(3, 7)[np.argmin(distances)])


def test_the_raw_observation_can_be_read_back(views):
    encoded = np.asarray(jax.vmap(encode_observations)(views))
    assert encoded.shape == (64, 4, 34)
    assert encoded.dtype == np.float32
    assert np.abs(encoded).max() <= 1

    here = (encoded[..., 0:2] + 1) * 12
    slots = encoded[..., 6:27].reshape(64, 4, 3, 7)
    filled = slots[..., :1]
    foods = np.concatenate([(slots[..., 1:3] * 24 + here[:, :, None]) * filled, filled], -1)
    one = np.ones((64, 4, 1))
    parts = [here, one, here + encoded[..., 2:4] * 24, one, foods.reshape(64, 4, 9)]
    raw = np.concatenate([*parts, np.zeros((64, 4, 3))], axis=-1)
    np.testing.assert_array_equal(np.round(raw), views)


def test_the_state_is_the_four_encoded_views_in_a_row(views):
    for view in views[:4]:
        np.testing.assert_array_equal(encode_state(view.reshape(-1)), encode_observations(view).reshape(-1))


def test_works_under_more_batch_dimensions(views):
    twice = jax.vmap(jax.vmap(encode_observations))(views.reshape(8, 8, 4, 18))
    np.testing.assert_array_equal(twice.reshape(64, 4, 34), jax.vmap(encode_observations)(views))
