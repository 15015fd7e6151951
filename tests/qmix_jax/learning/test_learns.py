"""The main job learns: minutes of training, so `make test-slow` runs it."""

import csv

import pytest

from qmix_jax import Config, run


@pytest.mark.slow
def test_the_default_run_collects_all_foods(tmp_path):
    result = run(Config(num_envs=512, results_dir=str(tmp_path)))
    assert result.evaluation.extra["foods_collected"] == 4
    assert result.evaluation.optimality >= 0.90
    with (result.directory / "evaluation_log.csv").open() as file:
        last = list(csv.DictReader(file))[-1]
    assert float(last["optimality"]) == pytest.approx(float(result.evaluation.optimality), abs=1e-6)
    assert int(last["episode"]) >= 1000
