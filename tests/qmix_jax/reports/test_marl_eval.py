"""The file for marl-eval, read back by the structure that its README asks for."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from finished_run import save_run as save_logs
from helpers import quick_compilation
from saved_run import CONFIG, save_run

from qmix_jax import report
from qmix_jax.analysis.run_record import read_record
from qmix_jax.errors import ConfigError
from qmix_jax.reports.marl_eval import Place, find_places, make_tree, write_marl_eval
from qmix_jax.reports.options import ReportOptions
from qmix_jax.storage.directory import RunDirectory

METRICS = {"return", "optimality", "success_rate", "length"}


def check_structure(tree):
    """Fail where marl-eval would: it takes names and numbers from the first task, algorithm and run."""
    for tasks in tree.values():
        algorithms = {frozenset(runs) for runs in tasks.values()}
        assert len(algorithms) == 1
        assert not any("," in name for name in next(iter(algorithms)))
        runs = [run for task in tasks.values() for algorithm in task.values() for run in algorithm.values()]
        assert len({len(algorithm) for task in tasks.values() for algorithm in task.values()}) == 1
        steps = [f"step_{number}" for number in range(len(runs[0]) - 1)]
        metrics = runs[0]["absolute_metrics"].keys()
        for run in runs:
            assert list(run) == [*steps, "absolute_metrics"]
            assert run["absolute_metrics"].keys() == metrics
            counts = [run[step]["step_count"] for step in steps]
            assert all(type(count) is int for count in counts)
            assert counts == sorted(set(counts))
            assert all(run[step].keys() == {"step_count", *metrics} for step in steps)
            values = [found[name] for found in run.values() for name in metrics]
            assert all(isinstance(value, list) and len(value) == 1 and type(value[0]) is float for value in values)


def test_a_run_is_written_with_its_best_models_absolute_metrics(tmp_path, monkeypatch):
    run = save_run(tmp_path)
    logs = save_logs(tmp_path / "logs", [0.25, 0.5])
    for log in logs.logs[1:]:
        shutil.copy(log, run / log.name)
    monkeypatch.setattr("qmix_jax.runs.compilation.enable_compilation_cache", lambda: None)
    with quick_compilation():
        write_marl_eval([RunDirectory(run)], ReportOptions(marl_eval=str(tmp_path / "a.json")))
    tree = json.loads((tmp_path / "a.json").read_text())
    check_structure(tree)
    found = tree["gridworld25"]["max_steps_per_ep=5 env_mode=fixed layout_seed=1"]["qmix"]["seed_0"]
    assert found["step_1"] == {
        "step_count": 400,
        "return": [1.0],
        "optimality": [0.5],
        "success_rate": [0.5],
        "length": [48.0],
    }
    assert found["absolute_metrics"]["length"] == [5.0]  # played, not taken from the log
    both = [RunDirectory(run), RunDirectory(shutil.copytree(run, tmp_path / "copy"))]
    with pytest.raises(ConfigError, match=r"a.json: .*run_1 and .*copy have the same settings and seed; give only one"):
        write_marl_eval(both, ReportOptions(marl_eval=str(tmp_path / "a.json")))


def test_a_run_without_evaluations_is_refused(tmp_path, capsys, monkeypatch):
    run = save_run(tmp_path)
    for log in save_logs(tmp_path / "logs", []).logs[1:]:
        shutil.copy(log, run / log.name)
    monkeypatch.setattr("qmix_jax.runs.compilation.enable_compilation_cache", lambda: None)
    assert report.main([str(run), "--marl_eval", str(tmp_path / "a.json")]) == 2
    assert capsys.readouterr().err.endswith("run_1 must have an evaluation\n")
    assert not (tmp_path / "a.json").exists()


def test_runs_of_an_environment_share_steps_and_metrics(tmp_path):
    logs = {"a": [0.1, 0.2, 0.3], "b": [0.4], "c": [0.5, np.nan], "d": [0.6, 0.7, 0.8]}
    records = [read_record(name, 0, save_logs(tmp_path / name, scores)) for name, scores in logs.items()]
    late = {name: column[1:] for name, column in records[3].evaluations.items()}
    records[3] = records[3]._replace(evaluations=late)
    places = [
        Place("x", "1", "qmix", "seed_0"),
        Place("x", "2", "qmix", "seed_0"),
        *(Place("y", "1", name, "s") for name in "cd"),
    ]
    absolute = [dict.fromkeys(("mean_return", "optimality", "solved", "mean_length"), 1.0)] * 4
    tree = make_tree(places, records, absolute)
    check_structure(tree)
    one, two = (tree["x"][task]["qmix"]["seed_0"] for task in "12")
    assert [one[step]["optimality"] for step in ("step_0", "step_1", "step_2")] == [[0.1], [0.2], [0.3]]
    assert [two[step]["optimality"] for step in ("step_0", "step_1", "step_2")] == [[0.4]] * 3  # after its end
    assert tree["y"]["1"]["c"]["s"]["step_0"].keys() == {"step_count", "length"}  # the others have a NaN
    assert tree["y"]["1"]["d"]["s"]["step_0"]["step_count"] == 400  # the first one that both have
    assert set(one["absolute_metrics"]) == METRICS


def test_algorithms_are_named_with_the_settings_that_differ():
    vdn = replace(CONFIG, algorithm="vdn", layout_seed=3)
    assert [place.algorithm for place in find_places([CONFIG, vdn])] == ["qmix", "vdn"]
    names = [place.algorithm for place in find_places([CONFIG, replace(CONFIG, lr=0.01), replace(vdn, layout_seed=1)])]
    assert names == ["qmix lr=0.001", "qmix lr=0.01", "vdn lr=0.001"]
