"""Files that are whole at any moment, files that were changed since, and who may write them when."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from qmix_jax import compare
from qmix_jax.analysis import run_record
from qmix_jax.analysis.run_record import RunRecord, read_record, write_evaluations
from qmix_jax.errors import DamagedError
from qmix_jax.experiments import capacity
from qmix_jax.experiments.comparison_spec import COMPARISON
from qmix_jax.experiments.experiment import experiment_file, experiment_from_flags, write_experiment
from qmix_jax.experiments.outcomes import last_row
from qmix_jax.learning.faults import init_faults
from qmix_jax.runs.messages import conclusion_lines
from qmix_jax.storage.directory import RunDirectory
from qmix_jax.storage.files import replacing, write_json
from qmix_jax.storage.hparams import machine_line
from qmix_jax.storage.lock import RunLock
from qmix_jax.storage.logs import DIAGNOSTIC_COLUMNS, EVALUATION_COLUMNS, TIMING_COLUMNS, read_log
from qmix_jax.types import Evaluation, Progression

DEVICE = {"backend": "cpu", "kind": "cpu", "count": 4, "cores": 2, "platform": "Linux"}
END = Progression({}, np.int32(8), init_faults())
EVALUATION = Evaluation(**{name: np.float32(0.5) for name in Evaluation._fields if name != "extra"}, extra={})


def test_a_file_takes_its_name_once_it_is_on_the_disk(tmp_path, monkeypatch):
    done = []
    for name, module in (("fsync", os), ("replace", Path)):
        real = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *args, real=real, name=name: (done.append(name), real(*args))[1])
    write_json(tmp_path / "settings.json", {"a": 1})
    assert done == ["fsync", "replace", "fsync"]  # the content, the name, and the folder that has it
    assert json.loads((tmp_path / "settings.json").read_text()) == {"a": 1}
    assert os.listdir(tmp_path) == ["settings.json"]


def test_what_cannot_be_written_leaves_the_older_file(tmp_path):
    path = tmp_path / "page.md"
    path.write_text("older")
    with pytest.raises(ZeroDivisionError), replacing(path) as temporary:
        temporary.write_text(f"ne{1 // 0}")
    with pytest.raises(FileNotFoundError), replacing(path):
        pass
    assert path.read_text() == "older"
    assert os.listdir(tmp_path) == ["page.md"]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ({"device": DEVICE, "versions": {"jax": "0.9"}}, "4 x cpu (cpu), 2 cores, jax 0.9"),
        ({"device": {"kind": "H100"}}, "unknown x H100 (unknown), unknown cores, jax unknown"),
        ({"device": None, "versions": [1]}, "unknown x unknown (unknown), unknown cores, jax unknown"),
        ({"device": "cpu", "versions": "0.9"}, "unknown x unknown (unknown), unknown cores, jax unknown"),
        ([], "unknown x unknown (unknown), unknown cores, jax unknown"),
        (None, "unknown x unknown (unknown), unknown cores, jax unknown"),
    ],
)
def test_what_a_run_was_trained_on_may_be_unknown(tmp_path, content, line):
    path = tmp_path / "hparams.json"
    if content is not None:
        path.write_text(json.dumps(content))
    assert machine_line(path) == line
    assert machine_line(path, 3) == f"3 x {line.partition(' x ')[2]}"


@pytest.fixture
def logged(tmp_path):
    """Return a run's folder with an evaluation and a chunk of it in the logs."""
    directory = RunDirectory(tmp_path)
    written = (EVALUATION_COLUMNS, DIAGNOSTIC_COLUMNS, TIMING_COLUMNS)
    for path, columns in zip(directory.logs[1:], written, strict=True):
        path.write_text(f"{','.join(columns)}\n{','.join(['8'] * len(columns))}\n")
    return directory


@pytest.mark.parametrize("text", ["", "\n", "8,8\n", "env_steps\n8\n", "env_steps;updates\n8;8\n", "\xff"])
@pytest.mark.parametrize("name", ["evaluation_log", "diagnostics_log", "timing"])
def test_a_changed_header_is_damage(logged, name, text):
    assert read_record("qmix", 0, logged).evaluations["env_steps"] == [8.0]
    assert len(conclusion_lines(EVALUATION, logged, 0.0, END)) == 1
    getattr(logged, name).write_text(text, encoding="latin-1")
    with pytest.raises(DamagedError, match=name):
        read_record("qmix", 0, logged)
    if name == "evaluation_log":
        with pytest.raises(DamagedError, match=name):
            conclusion_lines(EVALUATION, logged, 0.0, END)
    assert last_row(logged.timing).get("env_steps", 0) in (0, 8)


def test_a_column_too_many_is_none_that_is_missing(logged):
    logged.timing.write_text("env_steps,updates,notes,episodes,seconds\n8,1,,1,2.5\n")
    assert read_log(logged.timing, TIMING_COLUMNS)["seconds"] == [2.5]


def test_runs_whose_logs_have_other_columns_are_not_merged(tmp_path):
    evaluations = {name: np.ones(1) for name in (*run_record._COLUMNS, "collisions")}
    fewer = {name: values for name, values in evaluations.items() if name != "collisions"}
    records = [RunRecord("vdn", seed, own, 1.0, 1.0, 9, 0, False) for seed, own in enumerate((evaluations, fewer))]
    with pytest.raises(DamagedError, match=r"vdn, seed 1: its evaluation_log\.csv has no column collisions"):
        write_evaluations(tmp_path / "evaluations.csv", "algorithm", records)
    assert not list(tmp_path.iterdir())


def test_a_comparison_that_is_in_use_is_not_written_to(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(capacity, "available_cores", lambda: [0, 1])
    write_experiment(tmp_path, experiment_from_flags(COMPARISON, {"num_seeds": "1"}))
    written = experiment_file(tmp_path, COMPARISON).read_bytes()
    with RunLock(tmp_path):
        held = sorted(path.name for path in tmp_path.rglob("*"))
        assert compare.main(["--resume", str(tmp_path), "--workers", "2"]) == 2
        assert f"{tmp_path}: must not be in use, but process {os.getpid()}" in capsys.readouterr().err
        assert experiment_file(tmp_path, COMPARISON).read_bytes() == written
        assert sorted(path.name for path in tmp_path.rglob("*")) == held
