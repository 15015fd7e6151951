"""Parameters survive the way to disk and back."""

import numpy as np
import pytest

from qmix_jax.storage.checkpoint import BEST, FINAL, Checkpoints, checkpoint_name, load_params


def params(value):
    return {
        "agents": {
            "params": {"Dense_0": {"kernel": np.full((3, 2), value, np.float32), "bias": np.zeros(2, np.float32)}}
        },
        "mixer": {"params": {"scale": np.float32([value])}},
    }


def assert_holds(loaded, value):
    expected = params(value)
    assert loaded.keys() == expected.keys()
    np.testing.assert_array_equal(loaded["mixer"]["params"]["scale"], expected["mixer"]["params"]["scale"])
    layer, wanted = (tree["agents"]["params"]["Dense_0"] for tree in (loaded, expected))
    assert layer.keys() == wanted.keys()
    for name in wanted:
        np.testing.assert_array_equal(layer[name], wanted[name])
        assert layer[name].dtype == np.float32


@pytest.fixture
def run_directory(tmp_path):
    (tmp_path / "models").mkdir()
    return tmp_path


def test_round_trip(run_directory):
    with Checkpoints(run_directory / "models", keep_resumable=3) as checkpoints:
        checkpoints.save(checkpoint_name(100), params(1.0))
        checkpoints.save(FINAL, params(2.0))
    assert_holds(load_params(run_directory, "checkpoint_ep100"), 1.0)
    assert_holds(load_params(str(run_directory)), 2.0)


def test_the_best_is_replaced(run_directory):
    with Checkpoints(run_directory / "models", keep_resumable=3) as checkpoints:
        for value in (1.0, 2.0, 3.0):
            checkpoints.save(BEST, params(value))
    assert_holds(load_params(run_directory, BEST), 3.0)
    assert [path.name for path in (run_directory / "models").iterdir()] == [BEST]


def test_the_old_best_stays_until_the_new_one_is_whole(run_directory):
    with Checkpoints(run_directory / "models", keep_resumable=3) as checkpoints:
        checkpoints.save(BEST, params(1.0))
        checkpoints.save(BEST, params(2.0))  # the first is in place once the second begins
        assert_holds(load_params(run_directory, BEST), 1.0)


def test_a_missing_model_is_named(run_directory):
    with pytest.raises(FileNotFoundError, match="best_model"):
        load_params(run_directory, BEST)


def test_nothing_saved_leaves_nothing(run_directory):
    with Checkpoints(run_directory / "models", keep_resumable=3):
        pass
    assert list((run_directory / "models").iterdir()) == []
