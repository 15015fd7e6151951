"""Statistics over tasks, against numbers worked out by hand and those of rliable 1.2.0."""

from itertools import product

import numpy as np
import pytest

from qmix_jax.analysis.overall import (
    overall_band,
    overall_estimate,
    performance_profile,
    probability_of_improvement,
)
from qmix_jax.analysis.stats import estimate, interquartile_mean

NAN = float("nan")


def draw():
    """Two groups of ten runs on four tasks each; scores of the second task are often equal."""
    generator = np.random.default_rng(3)
    found = [generator.beta(a, 2, (10, 4)) for a in (5, 4)]
    for scores in found:
        scores[:, 1] = np.round(scores[:, 1], 1)
    return [list(scores.T) for scores in found]


def test_a_quarter_of_all_runs_is_cut_off_and_not_of_each_tasks():
    easy, hard = np.array([10.0, 11.0, 12.0, 13.0]), np.array([1.0, 2.0, 3.0, 4.0])
    assert overall_estimate([easy, hard]).value == (3 + 4 + 10 + 11) / 4
    assert overall_estimate([easy]) == estimate(easy)
    assert overall_estimate([easy, np.array([NAN, 2.0, 3.0, 4.0])]).value == (3 + 4 + 10 + 11) / 4
    assert np.isnan(overall_estimate([easy[:1], np.full(3, NAN)]).value)


def test_each_task_resamples_its_own_runs():
    """Of two runs on each of two tasks there are sixteen resamples; those of the pooled four would reach 0 and 11."""
    found = overall_estimate([np.array([0.0, 1.0]), np.array([10.0, 11.0])])
    resamples = [[*a, *b] for a in product([0, 1], repeat=2) for b in product([10, 11], repeat=2)]
    means = interquartile_mean(np.array(resamples, float))
    assert found == (np.mean([1, 10]), means.min(), means.max())
    assert np.isnan(overall_estimate([np.array([0.0, 1.0]), np.array([10.0])]).low)  # one run says nothing of chance


def test_what_rliable_says():
    x, y = draw()
    assert overall_estimate(x) == pytest.approx((0.737982, 0.669041, 0.797787), abs=0.003)
    assert overall_estimate(y) == pytest.approx((0.675012, 0.608213, 0.732877), abs=0.003)
    assert probability_of_improvement(x, y) == pytest.approx((0.60125, 0.46875, 0.72625), abs=0.005)
    assert overall_estimate(x).value == pytest.approx(0.73798218)


def test_the_probability_of_improvement_is_averaged_over_tasks():
    one = np.array([1.0])
    better = probability_of_improvement([np.array([2.0, 3.0]), np.array([1.0, 1.0])], [one, one])
    assert better.value == (1.0 + 0.5) / 2
    x, y = draw()
    forth, back = probability_of_improvement(x, y), probability_of_improvement(y, x)
    assert forth.value == pytest.approx(1 - back.value)
    assert forth.low < forth.value < forth.high
    assert probability_of_improvement([np.array([NAN, NAN])], [np.array([NAN, 0.0])]).value == 0.25


def test_profiles_count_runs_above_a_threshold():
    found = performance_profile(np.array([0.0, 0.5, 1.0]), [np.array([0.5, 1.0]), np.array([NAN, 0.6])])
    np.testing.assert_array_equal(found.value, [0.75, 0.5, 0.0])
    assert (found.low <= found.value).all()
    assert (found.value <= found.high).all()
    assert (found.low[1], found.high[1]) == (0.0, 1.0)
    np.testing.assert_array_equal(found.low[2], 0.0)


def test_curves_are_estimates_at_every_point():
    x, _ = draw()
    curves = [np.stack([scores, 2 * scores]) for scores in x]
    band = overall_band(np.array([0.0, 10.0]), curves)
    np.testing.assert_allclose(band.value, overall_estimate(x).value * np.array([1, 2]))
    np.testing.assert_allclose(band.low, overall_estimate(x).low * np.array([1, 2]))
