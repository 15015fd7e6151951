"""training_plots.png: made of anything a run may have recorded."""

import struct
import sys

import numpy as np
import pytest

from qmix_jax.plots import moving_average, plot_training
from qmix_jax.records import EpisodeRows

NAN = float("nan")


def episodes(count, without_updates=0):
    random = np.random.default_rng(0)
    metrics = random.lognormal(size=(3, count)).astype(np.float32)
    metrics[:, :without_updates] = NAN
    numbers = np.arange(count)
    epsilon = np.linspace(1, 0, count, dtype=np.float32)
    return EpisodeRows(numbers, random.normal(size=count).astype(np.float32), numbers % 200, epsilon, *metrics)


def evaluations(count, optimality=0.5):
    return [
        {"env_steps": 100 * i + 100, "mean_return": i, "optimality": optimality, "solved": 1.0} for i in range(count)
    ]


@pytest.mark.parametrize(
    ("recorded", "evaluated", "best", "baseline"),
    [
        (episodes(0), [], NAN, NAN),
        (episodes(1), evaluations(1), 2.4, 2.2),
        (episodes(1, without_updates=1), evaluations(1, NAN), NAN, NAN),
        (episodes(60, without_updates=20), evaluations(3), 2.4, NAN),
        (episodes(999), evaluations(39), 2.4, 2.2),
        (episodes(1_001, without_updates=1_001), evaluations(2), NAN, 2.2),
        (episodes(500_000, without_updates=70_000), evaluations(500), 2.4, 2.2),
    ],
    ids=["nothing", "one", "no updates", "few", "some", "many without updates", "half a million"],
)
def test_a_readable_picture_of_anything(tmp_path, recorded, evaluated, best, baseline):
    path = tmp_path / "plots.png"
    plot_training(path, "title", recorded, evaluated, best, baseline)
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", content[16:24])
    assert width >= 1000
    assert height >= 1000
    assert len(content) < 1_000_000


def test_the_global_state_of_matplotlib_is_left_alone():
    assert "matplotlib.pyplot" not in sys.modules


def test_moving_average():
    np.testing.assert_allclose(moving_average(np.array([1.0, 2.0, 3.0, 6.0]), 2), [1.0, 1.5, 2.5, 4.5])
    np.testing.assert_allclose(moving_average(np.array([NAN, 2.0, NAN, NAN, 4.0]), 2), [NAN, 2.0, 2.0, NAN, 4.0])
    np.testing.assert_allclose(moving_average(np.array([5.0]), 1), [5.0])
