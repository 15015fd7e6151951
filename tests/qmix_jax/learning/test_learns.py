"""The main job learns: minutes of training, so `make test-slow` runs it."""

import csv

import pytest

from qmix_jax import Config, run
from qmix_jax.presets import preset_config


@pytest.mark.slow
def test_the_default_run_collects_all_foods(tmp_path):
    result = run(Config(num_envs=512, results_dir=str(tmp_path)))
    assert result.evaluation.extra["foods_collected"] == 4
    assert result.evaluation.optimality >= 0.90
    with (result.directory / "evaluation_log.csv").open() as file:
        last = list(csv.DictReader(file))[-1]
    assert float(last["optimality"]) == pytest.approx(float(result.evaluation.optimality), abs=1e-6)
    assert int(last["episode"]) >= 1000


@pytest.mark.slow
def test_without_replay_random_starts_take_seconds_and_values_stay_bounded(tmp_path):
    config = preset_config("pqn", env_mode="random", total_steps=400_000, eval_episodes=500, results_dir=str(tmp_path))
    result = run(config)
    assert result.evaluation.optimality >= 0.88
    with (result.directory / "diagnostics_log.csv").open() as file:
        values = [abs(float(row["q_value"])) for row in csv.DictReader(file) if row["q_value"]]
    assert max(values) < 30  # in units of the rewards' root mean square, after a start with rewards that are near 0
