"""Numbered directories that no two runs share."""

import multiprocessing

import pytest

from qmix_jax.errors import ConfigError
from qmix_jax.storage.directory import (
    check_run_directory,
    create_numbered,
    create_run_directory,
    make_run_directory,
)
from qmix_jax.storage.output_file import check_output_folder


def test_numbers_go_up_from_the_highest(tmp_path):
    results = tmp_path / "deep" / "results"
    assert create_run_directory(str(results)).path == results / "run_1"
    (results / "run_7").mkdir()
    (results / "run_x").mkdir()
    (results / "rerun_9").mkdir()
    (results / "run_8").write_text("a file takes a number too")
    assert create_run_directory(str(results)).path == results / "run_9"


def test_folders_of_a_run(tmp_path):
    run = create_run_directory(str(tmp_path))
    assert sorted(path.name for path in run.path.iterdir()) == ["configs", "models"]
    assert run.hparams.parent.is_dir()
    assert run.training_log.parent == run.path


def test_twenty_at_once_get_twenty_directories(tmp_path):
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        runs = pool.map(create_run_directory, [str(tmp_path / "results")] * 20, chunksize=1)
    assert {run.path.name for run in runs} == {f"run_{i}" for i in range(1, 21)}


def test_a_name_taken_in_between_is_passed_over(tmp_path, monkeypatch):
    listings = iter([[], ["run_1"]])  # the first look is outdated when run_1 is to be made
    (tmp_path / "run_1").mkdir()
    monkeypatch.setattr("qmix_jax.storage.directory.os.listdir", lambda path: next(listings))
    assert create_run_directory(str(tmp_path)).path == tmp_path / "run_2"


def test_checking_makes_nothing(tmp_path):
    check_output_folder("results_dir", str(tmp_path / "a" / "b"))
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_way_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"--results_dir .*file: must be a folder"):
        create_run_directory(str(tmp_path / "file"))


def test_a_link_to_nowhere_is_refused(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="must be a folder"):
        create_run_directory(str(tmp_path / "link"))


def test_each_kind_counts_for_itself(tmp_path):
    create_run_directory(str(tmp_path))
    assert create_numbered(str(tmp_path), "compare") == tmp_path / "compare_1"
    assert create_numbered(str(tmp_path), "compare") == tmp_path / "compare_2"
    assert create_run_directory(str(tmp_path)).path == tmp_path / "run_2"


def test_a_run_goes_exactly_where_it_is_told(tmp_path):
    path = tmp_path / "deep" / "seed_0"
    check_run_directory(str(path))
    assert list(tmp_path.iterdir()) == []
    run = make_run_directory(path, "--run_directory seed_0")
    assert run.path == path
    assert sorted(folder.name for folder in path.iterdir()) == ["configs", "models"]


def test_what_a_run_left_that_was_killed_at_its_start_is_in_nobodys_way(tmp_path):
    run = make_run_directory(tmp_path, "--run_directory here")
    (tmp_path / "lock").write_text("{}")
    run.hparams.with_suffix(".writing").write_text("{")
    check_run_directory(str(tmp_path))
    run.hparams.write_text("{}")
    with pytest.raises(ConfigError, match=r"must be new or empty, but holds configs/hparams\.json$"):
        check_run_directory(str(tmp_path))
