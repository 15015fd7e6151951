"""Which runs share a task, how groups are named on several, and scores that compare between tasks."""

from dataclasses import replace

import numpy as np
import pytest
from finished_run import save_run
from PIL import Image

from qmix_jax.analysis.groups import differing_settings
from qmix_jax.analysis.run_record import read_record
from qmix_jax.analysis.task_curves import plot_tasks, profiles, sample_efficiency
from qmix_jax.analysis.tasks import by_group, final_scores, task_names, task_settings, with_scores
from qmix_jax.config import Config

NAN = float("nan")
GRID = Config()
OTHER = replace(GRID, env="jaxmarl:HeuristicEnemySMAX", env_args=("scenario=3m",))


def test_tasks_are_named_by_what_differs():
    assert task_names([GRID, replace(GRID, lr=0.1)]) == ["", ""]
    assert task_names([GRID, replace(GRID, layout_seed=5)]) == ["layout_seed=1", "layout_seed=5"]
    assert task_names([GRID, replace(GRID, env_mode="random", layout_seed=5)]) == [
        "env_mode=fixed layout_seed=1",
        "env_mode=random",
    ]
    assert task_names([OTHER, replace(OTHER, env_args=("scenario=2s3z",))]) == [
        "env_args.scenario=3m",
        "env_args.scenario=2s3z",
    ]
    assert "layout_seed" not in task_settings(OTHER)


def test_what_differs_only_from_task_to_task_names_no_group():
    longer = replace(GRID, layout_seed=5, total_episodes=9_000)
    configs = [GRID, replace(GRID, algorithm="vdn"), longer, replace(longer, algorithm="vdn")]
    names = task_names(configs)
    assert differing_settings(configs, names) == [{"algorithm": name} for name in ("qmix", "vdn") * 2]
    assert list(differing_settings([GRID, replace(longer, layout_seed=1)], ["", ""])[0]) == ["total_episodes"]


@pytest.fixture
def records(tmp_path):
    """Two groups on two tasks, three runs each; the best possible return is known on the first task only."""
    found = []
    for number, (group, task) in enumerate([("a", "1"), ("b", "1"), ("a", "2"), ("b", "2")]):
        for seed in range(3):
            scores = np.array([0.0, 0.2, 0.4 + 0.1 * seed + 0.2 * (group == "a")])
            if task == "2":
                scores = scores - 10
            run = read_record(group, seed, save_run(tmp_path / f"{number}_{seed}", scores))
            if task == "2":
                run = run._replace(evaluations={**run.evaluations, "optimality": np.full(3, NAN)})
            found.append(run)
    return found, ["1"] * 6 + ["2"] * 6


def test_scores_are_optimality_or_shares_of_the_tasks_range(records):
    scored = by_group(with_scores(*records), records[1])
    np.testing.assert_allclose(final_scores(scored["a"]["1"]), [0.6, 0.7, 0.8])
    np.testing.assert_allclose(final_scores(scored["a"]["2"]), np.array([0.6, 0.7, 0.8]) / 0.8)
    np.testing.assert_allclose(final_scores(scored["b"]["2"]), np.array([0.4, 0.5, 0.6]) / 0.8)
    empty = records[0][6]._replace(evaluations={name: np.zeros(0) for name in records[0][6].evaluations})
    alone = with_scores([empty], ["2"])
    assert np.isnan(final_scores(alone)).all()


def test_curves_and_profiles_are_over_all_tasks(records, tmp_path):
    groups = by_group(with_scores(*records), records[1])
    curve = sample_efficiency(groups["b"])
    np.testing.assert_array_equal(curve.x, [200, 400, 600])
    np.testing.assert_allclose(curve.value, [0.0, (0.2 + 0.25) / 2, np.mean([0.5, 0.5, 0.6, 0.625])])
    found = profiles(groups)
    assert found["a"].x[[0, -1]].tolist() == [0.0, 1.0]
    assert found["a"].value[0] == found["b"].value[0] == 1.0
    assert (found["a"].value >= found["b"].value).all()
    assert found["b"].value[-1] == 0.0
    plot_tasks(tmp_path / "tasks.png", "two groups on two tasks", groups)
    with Image.open(tmp_path / "tasks.png") as image:
        assert image.size == (2600, 1120)
