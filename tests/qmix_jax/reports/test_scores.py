"""Figures and intervals: by hand, and against a bootstrap in plain loops."""

import math

import numpy as np
import pytest

from qmix_jax.analysis.stats import Estimate
from qmix_jax.reports.scores import EpisodeValues, json_episodes, json_figures, score_episodes, score_table


def values(returns, best=None, extra=None):
    returns = np.float32(returns)
    best = np.full_like(returns, np.nan) if best is None else np.float32(best)
    return EpisodeValues(returns, best, returns * 10, (returns > 1).astype(np.float32), extra or {})


def test_means_by_hand():
    figures = score_episodes(
        values([1.0, 2.0, 3.0], best=[2.0, 2.0, 4.0], extra={"foods": np.float32([0, 1, 4])}), seed=0
    )
    assert {name: figure.value for name, figure in figures.items()} == pytest.approx(
        {"mean_return": 2.0, "optimality": 6 / 8, "solved": 2 / 3, "mean_length": 20.0, "foods": 5 / 3}
    )


def test_the_intervals_are_those_of_a_bootstrap_over_episodes():
    """Returns go with the best ones of their starts: resampled apart, the quotient would spread three times as far."""
    generator = np.random.default_rng(0)
    best = generator.uniform(1.0, 3.0, 60)
    returns = best * generator.uniform(0.8, 1.0, 60)
    figures = score_episodes(values(returns, best), seed=0)
    quotients, means, apart = [], [], []
    for _ in range(4_000):
        drawn = generator.integers(0, 60, 60)
        means.append(np.mean(returns[drawn]))
        quotients.append(np.mean(returns[drawn]) / np.mean(best[drawn]))
        apart.append(np.mean(returns[drawn]) / np.mean(best[generator.integers(0, 60, 60)]))
    for name, resampled in (("optimality", quotients), ("mean_return", means)):
        low, high = np.quantile(resampled, (0.025, 0.975))
        width = high - low
        assert figures[name][1:] == pytest.approx((low, high), abs=0.08 * width)
    assert np.ptp(np.quantile(apart, (0.025, 0.975))) > 3 * (figures["optimality"].high - figures["optimality"].low)


def test_the_same_seed_gives_the_same_intervals():
    sample = values(np.random.default_rng(0).normal(size=20))
    assert score_episodes(sample, seed=3) == score_episodes(sample, seed=3)
    assert score_episodes(sample, seed=3) != score_episodes(sample, seed=4)


def test_equal_episodes_leave_nothing_uncertain():
    assert score_episodes(values([2.0] * 5), seed=0)["mean_return"] == (2.0, 2.0, 2.0)


def test_a_single_episode_has_no_interval():
    figures = score_episodes(values([2.0], [2.5]), seed=0)
    assert figures["optimality"].value == pytest.approx(0.8)
    assert math.isnan(figures["optimality"].low)
    assert json_figures({"solved": figures["solved"]}) == {"solved": 1.0, "solved_low": None, "solved_high": None}
    assert score_table({"policy": figures}).splitlines()[1] == "return         2.000"


def test_what_has_no_best_return_has_no_optimality():
    assert list(score_episodes(values([2.0, 3.0]), seed=0)) == ["mean_return", "solved", "mean_length"]


def test_where_the_best_return_is_not_above_0_regret_stands_for_optimality():
    figures = score_episodes(values([-27.0, -9.0], [-9.0, -9.0]), seed=0)
    assert list(figures) == ["mean_return", "regret", "solved", "mean_length"]
    assert figures["regret"] == (9.0, 0.0, 18.0)
    assert score_table({"policy": figures}).splitlines()[2] == "regret         9.000 (0.000 to 18.000)"
    assert score_episodes(values([-1.0, -2.0], [0.0, 0.0]), seed=0)["regret"].value == 1.5


def test_an_interval_is_unknown_where_some_draws_of_episodes_have_no_optimality():
    figures = score_episodes(values([1.0, -2.0], [4.0, -1.0]), seed=0)
    assert figures["optimality"].value == pytest.approx(-1 / 3)
    assert np.isnan(figures["optimality"][1:]).all()


def test_without_success_there_is_no_rate_in_the_table_and_none_in_the_file():
    figures = score_episodes(values([2.0, 3.0])._replace(solved=np.full(2, np.nan, np.float32)), seed=0)
    assert json_figures({"solved": figures["solved"]}) == {"solved": None, "solved_low": None, "solved_high": None}
    assert [line.split()[0] for line in score_table({"policy": figures}).splitlines()[1:]] == ["return", "length"]


def test_episodes_as_json():
    found = json_episodes(values([1.5, 2.0], extra={"foods_collected": np.float32([3, 4])}))
    assert found == {
        "return": [1.5, 2.0],
        "best_return": [None, None],
        "length": [15.0, 20.0],
        "solved": [1.0, 1.0],
        "foods_collected": [3.0, 4.0],
    }


def test_the_table_by_hand():
    one = {
        "mean_return": Estimate(2.5, 2.25, 2.75),
        "solved": Estimate(0.5, 0.25, 1.0),
        "mean_length": Estimate(20, 10, 30),
    }
    other = {name: Estimate(0.0, 0.0, 0.0) for name in one}
    assert score_table({"policy": one, "random": other}).splitlines() == [
        "               policy                   random",
        "return         2.500 (2.250 to 2.750)   0.000 (0.000 to 0.000)",
        "success rate   50.0 % (25.0 to 100.0)   0.0 % (0.0 to 0.0)",
        "length         20.0 (10.0 to 30.0)      0.0 (0.0 to 0.0)",
    ]
