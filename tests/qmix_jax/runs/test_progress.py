"""The bar: shown where someone watches, silent elsewhere."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from qmix_jax.runs.progress import Progress, is_watched
from qmix_jax.storage.logs import EpisodeRows
from qmix_jax.types import EpisodeLog, UpdateMetrics

DIAGNOSTICS = {"updates": 900.0, "skipped": 0.0}


def rows(*returns):
    count = len(returns)
    ones = np.ones(count, np.float32)
    return EpisodeRows(np.arange(count), np.float32(returns), 5 * np.ones(count, int), ones, ones, ones, ones)


def log(*losses):
    """A chunk's log; what the rows tell is left out."""
    updates = UpdateMetrics(*[np.float32(losses)] * len(UpdateMetrics._fields))
    epsilon = np.full(len(losses), 0.5, np.float32)
    return EpisodeLog(None, None, None, epsilon, None, None, updates, np.int32([loss > 0.0 for loss in losses]))


def test_the_bar_tells_what_matters(capsys):
    with Progress(1_000, visible=True) as progress:
        progress.start()
        progress.update(400, log(0.5, 0.125), rows(), None, DIAGNOSTICS)
        progress.update(1_000, log(0.0), rows(1.0, 2.0), {"optimality": 0.96}, DIAGNOSTICS)
    out, err = capsys.readouterr()
    assert out == ""
    last = err.split("\r")[-1]
    for part in (
        "100%",
        "1.00k/1.00k steps",
        "/s",
        "ETA",
        "episodes 2",
        "return 1.50",
        "optimality 96%",
        "epsilon 0.50",
    ):
        assert part in last
    assert "loss 0.12" in last
    assert "nan" not in err


def test_values_stay_until_there_are_new_ones(capsys):
    with Progress(1_000, visible=True) as progress:
        progress.update(400, log(0.125), rows(1.0), {"optimality": -0.001}, DIAGNOSTICS)
        progress.update(800, log(np.nan), rows(), None, DIAGNOSTICS)
    last = capsys.readouterr().err.split("\r")[-1]
    assert "episodes 1, return 1.00, optimality 0%, epsilon 0.50, loss 0.12" in last


def test_skipped_updates_are_said_once_there_are_any(capsys):
    with Progress(1_000, visible=True) as progress:
        progress.update(400, log(0.125), rows(1.0), None, DIAGNOSTICS)
        assert "skipped" not in capsys.readouterr().err
        progress.update(800, log(0.125), rows(), None, DIAGNOSTICS | {"skipped": 12.0})
    assert "loss 0.12, 12 of 900 updates skipped" in capsys.readouterr().err.split("\r")[-1]


def test_the_return_stands_for_an_optimality_that_makes_no_sense(capsys):
    with Progress(1_000, visible=True) as progress:
        progress.update(400, log(0.125), rows(), {"optimality": np.nan, "mean_return": -9.05}, DIAGNOSTICS)
    assert "greedy return -9.05, epsilon" in capsys.readouterr().err.split("\r")[-1]


def test_before_updates_there_is_no_loss(capsys):
    with Progress(1_000, visible=True) as progress:
        progress.update(400, log(np.nan, np.nan), rows(1.0), None, DIAGNOSTICS)
    assert "loss" not in capsys.readouterr().err


def test_the_return_is_that_of_recent_episodes(capsys):
    with Progress(1_000, visible=True) as progress:
        progress.update(400, log(0.125), rows(*[9.0] * 500), None, DIAGNOSTICS)
        progress.update(800, log(0.125), rows(*[1.0] * 100), None, DIAGNOSTICS)
    assert "return 1.00" in capsys.readouterr().err.split("\r")[-1]


def test_quiet_where_nobody_watches(capsys):
    with Progress(1_000) as progress:
        progress.start()
        progress.update(1_000, log(0.125), rows(1.0), None, DIAGNOSTICS)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("terminal", "shell", "watched"),
    [
        (True, None, True),
        (False, None, False),
        (False, SimpleNamespace(config={"IPKernelApp": {}}), True),
        (False, SimpleNamespace(config={}), False),
    ],
    ids=["terminal", "pipe", "notebook", "ipython in a pipe"],
)
def test_who_watches(monkeypatch, terminal, shell, watched):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    assert is_watched() is watched
