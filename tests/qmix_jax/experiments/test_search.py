"""Searches: what a study suggests, which runs stop early, and that a killed search ends like one that was not."""

import math

import pytest
from helpers import quick_compilation

from qmix_jax import sweep
from qmix_jax.analysis.search_plot import best_so_far, plot_search
from qmix_jax.experiments import jobs, search
from qmix_jax.experiments.experiment import experiment_file, read_experiment
from qmix_jax.experiments.halving import rung_steps, survivors
from qmix_jax.experiments.plan import point_folders
from qmix_jax.experiments.points import read_ranges
from qmix_jax.experiments.study import Study
from qmix_jax.experiments.sweep_spec import SWEEP, SweepSettings
from qmix_jax.storage.files import read_json, write_json

RANGES = read_ranges(["lr=1e-4:1e-2:log", "epsilon_decay_steps=10:1000"])
FLAGS = (
    "--optuna 3 --ranges lr=1e-4:1e-2:log gamma=0.8:0.99 --num_envs 4 --total_steps 180 --max_steps_per_ep 5 "
    "--min_buffer_size 16 --batch_size 4 --hidden_sizes 4 --mixing_size 4 --hypernet_size 4 --buffer_capacity 40 "
    "--eval_interval 90 --eval_episodes 2 --workers 1"
).split()


def run_study(study, count, batch=4):
    for first in range(0, count, batch):
        study.ask(first + batch)
        for number in range(first, first + batch):
            study.report(number, 100, value(study.suggestions()[number]))
            study.tell(number, value(study.suggestions()[number]))


def value(suggestion):
    return -abs(math.log10(suggestion.point["lr"]) + 3.5)


def test_suggestions_are_in_their_ranges_and_learn(tmp_path):
    study = Study(tmp_path / "optuna.log", RANGES, 16, 0)
    run_study(study, 16)
    found = study.suggestions()
    assert [suggestion.number for suggestion in found] == list(range(16))
    assert all(1e-4 <= suggestion.point["lr"] <= 1e-2 for suggestion in found)
    assert all(float(f"{suggestion.point['lr']:.6g}") == suggestion.point["lr"] for suggestion in found)
    assert all(type(suggestion.point["epsilon_decay_steps"]) is int for suggestion in found)
    assert all(suggestion.values == {100: value(suggestion)} for suggestion in found)
    first, last = (sum(map(value, part)) / 4 for part in (found[:4], found[-4:]))
    assert last > first


def test_a_study_goes_on_where_it_was_left(tmp_path):
    whole, parts = tmp_path / "whole.log", tmp_path / "parts.log"
    run_study(Study(whole, RANGES, 16, 7), 12)
    run_study(Study(parts, RANGES, 16, 7), 4)
    Study(parts, RANGES, 16, 7).ask(6)  # killed while it asked
    (tmp_path / "parts.log.lock").touch()  # and while it held its lock
    study = Study(parts, RANGES, 16, 7)
    study.tell(0, -9.0)  # ended already
    study.ask(8)
    for number in range(4, 8):
        study.report(number, 100, value(study.suggestions()[number]))
        study.tell(number, value(study.suggestions()[number]))
    study.ask(12)
    expected = [(found.point, found.state) for found in Study(whole, RANGES, 16, 7).suggestions()]
    found = study.suggestions()
    assert [suggestion.point for suggestion in found] == [point for point, _ in expected]
    assert [suggestion.state for suggestion in found] == ["complete"] * 8 + ["running"] * 4
    study.tell(8, None)
    study.report(9, 50, float("nan"))
    assert (study.suggestions()[8].state, study.suggestions()[9].values) == ("pruned", {})
    assert Study(tmp_path / "other.log", RANGES, 16, 8).suggestions() == []


def test_the_best_third_goes_on():
    assert survivors({4: 0.1, 5: 0.3, 6: 0.2, 7: 0.3}) == [5, 7]
    assert survivors({0: 1.0}) == [0]
    assert survivors({0: math.nan, 1: -5.0, 2: math.nan}) == [1]
    assert survivors({0: math.nan, 1: -5.0, 2: 3.0}, 1) == [1, 2]
    assert survivors({0: math.nan}) == []


def test_rungs_are_where_runs_are_evaluated():
    assert rung_steps(range(10, 91, 10), 90) == [10, 30, 90]
    assert rung_steps(range(20, 101, 20), 100) == [20, 40, 100]
    assert rung_steps([100], 100) == [100]
    assert rung_steps(range(10, 91, 10), 90, 1) == [90]


def test_the_best_so_far_is_that_of_complete_suggestions(tmp_path):
    steps, best = best_so_far(([10, 20, 30, 40], [None, 0.5, 0.2, 0.9]))
    assert steps.tolist() == [10, 20, 30, 40]
    assert math.isnan(best[0])
    assert best[1:].tolist() == [0.5, 0.5, 0.9]
    plot_search(tmp_path / "search.png", "two searches", {"a": [([10, 20], [0.1, 0.2])], "b": [([10, 20], [0.2, 0.1])]})
    assert (tmp_path / "search.png").stat().st_size > 10_000


class KilledError(BaseException):
    """Stands for SIGKILL: nothing catches it, and the files are what they are at that moment."""


def run_search(folder, *arguments):
    with pytest.MonkeyPatch.context() as patch, quick_compilation():
        patch.setattr("qmix_jax.runs.compilation.enable_compilation_cache", lambda: None)
        assert sweep.main([*arguments, "--results_dir", str(folder)] if arguments else ["--resume", str(folder)]) == 0


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """The folder of a search that was killed before its second rung, and resumed."""
    folder = tmp_path_factory.mktemp("search")
    train_group, calls = jobs.train_group, []

    def killed_later(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise KilledError
        return train_group(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jobs, "train_group", killed_later)
        with pytest.raises(KilledError):
            run_search(folder, *FLAGS)
    run_search(folder / "sweep_1")
    return folder / "sweep_1"


def suggestions(path):
    return Study(path / search.JOURNAL, read_ranges(["lr=1e-4:1e-2:log", "gamma=0.8:0.99"]), 3, 0).suggestions()


def test_runs_stop_at_rungs_and_the_best_is_trained_to_the_end(searched):
    found = suggestions(searched)
    folders = point_folders([suggestion.point for suggestion in found])
    assert sorted(suggestion.state for suggestion in found) == ["complete", "pruned", "pruned"]
    assert sorted([*suggestion.values] for suggestion in found) == [
        [68],
        [68],
        [68, 180],
    ]  # evaluated at the ends of chunks
    for suggestion in found:
        run = searched / folders[suggestion.number] / "seed_0"
        last = (run / "evaluation_log.csv").read_text().splitlines()[-1].split(",")
        assert int(last[0]) == max(suggestion.values)
        assert float(last[2]) == suggestion.values[int(last[0])]
        assert (run / "models" / "final_model").is_dir() == (suggestion.state == "complete")
        assert any(run.glob("models/*/resume.npz")) == (suggestion.state == "complete")
    page = (searched / "sweep.md").read_text()
    assert " --ranges lr=1e-4:1e-2:log gamma=0.8:0.99 --optuna 3 " in page
    assert (page.count("| pruned | 68 |"), page.count("| complete | 180 |")) == (2, 1)
    assert (searched / "search.png").stat().st_size > 10_000


@pytest.mark.slow
def test_a_killed_search_ends_like_one_that_was_not(searched, tmp_path):
    run_search(tmp_path, *FLAGS)
    assert suggestions(tmp_path / "sweep_1") == suggestions(searched)
    for log in sorted(searched.glob("lr=*/seed_0/*_log.csv")):
        assert (tmp_path / "sweep_1" / log.relative_to(searched)).read_bytes() == log.read_bytes()


def test_a_search_needs_its_extra(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("qmix_jax.experiments.sweep_spec.find_spec", lambda name: None)
    assert sweep.main([*FLAGS, "--results_dir", str(tmp_path)]) == 2
    assert "--optuna 3: needs optuna: install the extra 'optuna'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_sweeps_of_before_are_read(searched, tmp_path):
    """Their files have no settings of a search."""
    content = read_json(experiment_file(searched, SWEEP))
    kept = {name: found for name, found in content.items() if name not in ("optuna", "batch", "prune", "folders")}
    written = experiment_file(tmp_path, SWEEP)
    written.parent.mkdir()
    write_json(written, {**kept, "ranges": None})
    assert read_experiment(SWEEP, tmp_path).settings == SweepSettings(workers=1)
