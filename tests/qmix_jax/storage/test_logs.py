"""Rows of the CSV files."""

import time

import numpy as np
import pytest

from qmix_jax.errors import DamagedError
from qmix_jax.storage.logs import (
    DIAGNOSTIC_COLUMNS,
    CsvLog,
    EpisodeRows,
    diagnostic_row,
    evaluation_row,
    finished_episodes,
    read_log,
)
from qmix_jax.types import EpisodeLog, EpisodeMetrics, Evaluation, UpdateMetrics

NAN = float("nan")
# Two vector steps of three environments.
LOG = EpisodeLog(
    finished=np.array([[False, True, True], [True, False, False]]),
    episode_return=np.array([[9, 1.5, 0.1], [-3, 9, 9]], np.float32),
    episode_length=np.array([[9, 4, 5], [6, 9, 9]], np.int32),
    epsilon=np.array([1.0, 0.5], np.float32),
    updates=EpisodeMetrics(
        loss=np.array([[9, 0, 0.25], [1e-9, 9, 9]], np.float32),
        td_error=np.array([[9, 0, 0.5], [0.75, 9, 9]], np.float32),
        q_value=np.array([[9, 0, 2], [-1, 9, 9]], np.float32),
    ),
    num_updates=np.array([[1, 0, 2], [1, 1, 1]]),
    step_updates=UpdateMetrics(
        loss=np.array([9, 9, 0], np.float32),
        td_error=np.array([9, 9, 0], np.float32),
        q_value=np.array([1, 2, 0], np.float32),
        td_error_std=np.array([0.5, 0.5, 0], np.float32),
        target_lag=np.array([7, 7, 0], np.float32),
        grad_norm=np.array([20, 4, 0], np.float32),
        clipped=np.array([0.75, 0, 0], np.float32),
        central_loss=np.array([3, 1, 0], np.float32),
    ),
    num_step_updates=np.array([2, 1, 0]),
)
TEXT = """\
episode,episode_return,episode_length,epsilon,loss,td_error,q_value
10,1.5,4,1,,,
11,0.1,5,1,0.25,0.5,2
12,-3,6,0.5,1e-09,0.75,-1
"""


def test_training_log_in_order_of_steps_then_environments(tmp_path):
    with CsvLog(tmp_path / "log.csv", EpisodeRows._fields) as log:
        log.write(finished_episodes(LOG, 10))
        assert (tmp_path / "log.csv").read_text() == TEXT  # on disk before the file is closed


def test_a_chunk_without_an_end_writes_nothing(tmp_path):
    with CsvLog(tmp_path / "log.csv", EpisodeRows._fields) as log:
        log.write(finished_episodes(LOG._replace(finished=np.zeros((2, 3), bool)), 0))
    assert (tmp_path / "log.csv").read_text().count("\n") == 1


def test_what_was_written_is_read_back(tmp_path):
    rows = finished_episodes(LOG, 10)
    with CsvLog(tmp_path / "log.csv", EpisodeRows._fields) as log:
        empty = read_log(tmp_path / "log.csv")
        log.write(rows)
        log.write(rows)
    assert {name: len(column) for name, column in empty.items()} == dict.fromkeys(EpisodeRows._fields, 0)
    table = read_log(tmp_path / "log.csv")
    assert tuple(table) == EpisodeRows._fields
    for name, column in table.items():
        np.testing.assert_allclose(column, np.tile(getattr(rows, name), 2), rtol=1e-6)


def test_a_log_goes_on_from_an_earlier_size(tmp_path):
    path = tmp_path / "log.csv"
    with CsvLog(path, ["a", "b"]) as log:
        log.write_row([1, 2])
        size = log.sync()
        log.write_row([3, 4])
        assert log.sync() == path.stat().st_size > size
    with CsvLog(path, ["a", "b"], size) as log:
        assert path.read_text() == "a,b\n1,2\n"
        log.write_row([5, NAN])
    assert path.read_text() == "a,b\n1,2\n5,\n"
    with pytest.raises(DamagedError, match="must begin with a,c"):
        CsvLog(path, ["a", "c"], size)


@pytest.mark.parametrize("text", ["a,b\n1\n", "a,b\n1,x\n", "a,b\n1,2,3\n", "a,b\n\x00\n"])
def test_a_damaged_log_is_named(tmp_path, text):
    (tmp_path / "log.csv").write_text(text)
    with pytest.raises(DamagedError, match=r"log\.csv: "):
        read_log(tmp_path / "log.csv")


def test_evaluation_row_ends_with_the_environments_own():
    evaluation = Evaluation(*np.float32([1, 2, 2.5, 0.5, 0, 7]), {"foods": 3.0})
    row = evaluation_row(100, 5, evaluation)
    assert list(row) == ["env_steps", "episode", "mean_return", "optimality", "solved", "mean_length", "foods"]
    assert list(row.values()) == [100, 5, 1.0, 0.5, 0.0, 7.0, 3.0]


def test_diagnostics_are_means_over_the_vector_steps_with_updates(tmp_path):
    with CsvLog(tmp_path / "log.csv", DIAGNOSTIC_COLUMNS) as log:
        log.write_row(diagnostic_row(100, 7, 1, LOG, 2.5, ["target_lag"]).values())
        log.write_row(diagnostic_row(200, 9, 0, LOG, NAN, ["target_lag"]).values())
    assert (tmp_path / "log.csv").read_text() == (
        "env_steps,updates,q_value,q_bound,target_lag,grad_norm,clipped,td_error_std,central_loss,skipped\n"
        "100,7,1.5,2.5,,12,0.375,0.5,2,1\n"
        "200,9,1.5,,,12,0.375,0.5,2,0\n"
    )


def test_steps_without_updates_do_not_count_and_bad_updates_of_the_central_value_network_show():
    known = diagnostic_row(100, 7, 0, LOG, 2.5)
    alone = diagnostic_row(100, 7, 0, LOG._replace(num_step_updates=np.zeros(3, int)), 2.5)
    assert known["central_loss"] == 2
    assert np.isnan([alone[name] for name in ("q_value", "grad_norm", "central_loss")]).all()
    bad = LOG.step_updates._replace(central_loss=np.array([3, NAN, 0], np.float32))
    row = diagnostic_row(100, 7, 0, LOG._replace(step_updates=bad), 2.5)
    np.testing.assert_equal(row, known | {"central_loss": NAN})


def test_an_existing_file_is_not_overwritten(tmp_path):
    (tmp_path / "log.csv").write_text("old")
    with pytest.raises(FileExistsError):
        CsvLog(tmp_path / "log.csv", ["a"])


def test_half_a_million_rows_take_seconds(tmp_path):
    column = np.random.default_rng(0).normal(size=500_000).astype(np.float32)
    started = time.process_time()
    with CsvLog(tmp_path / "log.csv", EpisodeRows._fields) as log:
        log.write([np.arange(500_000), column, np.arange(500_000), column, column, column, column])
    assert time.process_time() - started < 15.0
