"""training_plots.png and diagnostics_plots.png: made of anything a run may have recorded."""

import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from qmix_jax.runs import plots
from qmix_jax.runs.plots import moving_average, plot_diagnostics, plot_training
from qmix_jax.storage.logs import DIAGNOSTIC_COLUMNS, EpisodeRows

ROOT = Path(__file__).parents[3]
NAN = float("nan")


def episodes(count, without_updates=0):
    random = np.random.default_rng(0)
    metrics = random.lognormal(size=(3, count)).astype(np.float32)
    metrics[:, :without_updates] = NAN
    numbers = np.arange(count)
    epsilon = np.linspace(1, 0, count, dtype=np.float32)
    return EpisodeRows(numbers, random.normal(size=count).astype(np.float32), numbers % 200, epsilon, *metrics)


def evaluations(count, optimality=0.5, solved=1.0):
    steps = 100.0 * np.arange(1, count + 1)
    constants = {"optimality": optimality, "solved": solved, "mean_length": 7.0}
    return {"env_steps": steps, "mean_return": steps} | {name: np.full(count, x) for name, x in constants.items()}


@pytest.mark.parametrize(
    ("recorded", "evaluated", "best", "baseline"),
    [
        (episodes(0), evaluations(0), NAN, NAN),
        (episodes(1), evaluations(1), 2.4, 2.2),
        (episodes(1, without_updates=1), evaluations(1, NAN), NAN, NAN),
        (episodes(60), evaluations(3, NAN, NAN), NAN, 2.2),
        (episodes(60, without_updates=20), evaluations(3), 2.4, NAN),
        (episodes(999), evaluations(39), 2.4, 2.2),
        (episodes(1_001, without_updates=1_001), evaluations(2), NAN, 2.2),
        (episodes(500_000, without_updates=70_000), evaluations(500), 2.4, 2.2),
    ],
    ids=["nothing", "one", "no updates", "no success", "few", "some", "many without updates", "half a million"],
)
def test_a_readable_picture_of_anything(tmp_path, recorded, evaluated, best, baseline):
    path = tmp_path / "plots.png"
    plot_training(path, "title", recorded, evaluated, best, baseline)
    assert_readable(path, least_height=1000)


@pytest.mark.parametrize(
    ("optimality", "solved", "label"),
    [
        (0.5, 1.0, "share of best possible, of episodes"),
        (NAN, 1.0, "share of episodes"),
        (0.5, NAN, "share of best possible"),
    ],
)
def test_success_is_a_share_of_what_is_known(optimality, solved, label):
    axes = Figure().subplots()
    plots._plot_success(axes, evaluations(2, optimality, solved))
    assert axes.get_ylabel() == label


def test_a_legend_has_no_negative_zero(tmp_path, monkeypatch):
    """A return a little below 0, such as a penalty that is discounted over 200 steps."""
    labels = []
    monkeypatch.setattr(plots.Axes, "legend", lambda axes, *_, **__: labels.extend(axes.get_legend_handles_labels()[1]))
    table = evaluations(3, -1e-4) | {"mean_return": np.full(3, -3e-4)}
    plot_training(tmp_path / "plots.png", "title", episodes(9), table, 2.4, 2.2)
    finals = [label for label in labels if ", final " in label]
    assert len(finals) == 3
    assert not [label for label in finals if "-0" in label]


def assert_readable(path, least_height):
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", content[16:24])
    assert width >= 1000
    assert height >= least_height
    assert len(content) < 1_000_000


def diagnostics(count, without_updates=0, **constants):
    random = np.random.default_rng(0)
    table = {name: random.lognormal(size=count) for name in DIAGNOSTIC_COLUMNS}
    for name in ("q_value", "target_lag", "grad_norm", "clipped", "td_error_std"):
        table[name][:without_updates] = NAN
    table["env_steps"] = 100.0 * np.arange(1, count + 1)
    return table | {name: np.full(count, x) for name, x in ({"q_bound": 2.4} | constants).items()}


@pytest.mark.parametrize(
    "table",
    [
        diagnostics(0),
        diagnostics(1),
        diagnostics(2, without_updates=2),
        diagnostics(30, without_updates=5, q_bound=NAN, target_lag=NAN),
        diagnostics(3, grad_norm=0.0, clipped=0.0, q_value=0.0, target_lag=0.0, td_error_std=0.0),
        diagnostics(3, grad_norm=np.inf, q_value=-1e30),
        diagnostics(10_000, without_updates=100),
    ],
    ids=["nothing", "one", "no updates", "single Q, no bound", "nothing to learn", "diverged", "many"],
)
def test_a_readable_picture_of_any_diagnostics(tmp_path, table):
    plot_diagnostics(tmp_path / "plots.png", "title", table, 10.0)
    assert_readable(tmp_path / "plots.png", least_height=800)


def test_the_global_state_of_matplotlib_is_left_alone():
    """In a process of its own: libraries that other tests import are less careful."""
    code = "import qmix_jax.runs.plots, sys; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_moving_average():
    np.testing.assert_allclose(moving_average(np.array([1.0, 2.0, 3.0, 6.0]), 2), [1.0, 1.5, 2.5, 4.5])
    np.testing.assert_allclose(moving_average(np.array([NAN, 2.0, NAN, NAN, 4.0]), 2), [NAN, 2.0, 2.0, NAN, 4.0])
    np.testing.assert_allclose(moving_average(np.array([5.0]), 1), [5.0])


def test_equal_losses_leave_a_log_scale_room():
    axes = Figure().subplots()
    plots._plot_episodes(axes, "title", "unit", np.full(8, 4e-6) + 1e-20 * np.arange(8), log=True)
    low, high = axes.get_ylim()
    assert low < 3e-6 < 5e-6 < high
