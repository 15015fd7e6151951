"""Statistics over seeds, against numbers worked out by hand and every resample there is."""

from itertools import product

import numpy as np
import pytest

from qmix_jax.analysis.stats import (
    common_points,
    estimate,
    estimate_difference,
    interquartile_mean,
    interquartile_range,
    make_band,
    step_values,
)

NAN = float("nan")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([7], 7.0),
        ([1, 4], 2.5),
        ([1, 2, 9], 4.0),  # a quarter of three is less than one
        ([100, 1, 3, 2], 2.5),
        ([0, 10, 20, 60, -1000], 10.0),
        ([1, 2, 3, 4, 5, 6, 7, 80], 4.5),
    ],
)
def test_interquartile_mean_leaves_out_a_quarter_at_either_end(values, expected):
    assert interquartile_mean(np.array(values, float)) == expected
    assert estimate(values).value == expected


def test_the_interval_is_that_of_all_resamples():
    """Of 3 seeds there are 27 resamples, all as likely: the quantiles of their means are known."""
    values = [0.0, 1.0, 10.0]
    means = np.sort([np.mean(resample) for resample in product(values, repeat=3)])
    # Means of 0, 0, 0 and of 10, 10, 10 come up in 1 of 27 resamples, which is more than 2.5 %.
    assert (means[0], means[-1]) == (0.0, 10.0)
    assert estimate(values)[1:] == (0.0, 10.0)
    five = np.array([0.0, 1.0, 2.0, 3.0, 50.0])
    all_means = interquartile_mean(np.array(list(product(five, repeat=5))))
    low, high = np.quantile(all_means, (0.025, 0.975), method="inverted_cdf")
    found = estimate(five)
    assert found.low == pytest.approx(low, abs=0.34)  # neighbouring resamples differ by a third
    assert found.high == pytest.approx(high, abs=1.0)


def test_the_same_seeds_always_get_the_same_interval():
    values = np.random.default_rng(0).normal(size=7)
    assert estimate(values) == estimate(values)


def test_one_seed_has_no_interval_and_equal_seeds_an_empty_one():
    np.testing.assert_equal(tuple(estimate([2.0])), (2.0, NAN, NAN))
    assert estimate([2.0] * 5) == (2.0, 2.0, 2.0)
    np.testing.assert_equal(tuple(estimate([])), (NAN, NAN, NAN))


def test_a_seed_without_a_value_is_the_worst():
    assert estimate([NAN, 1.0, 2.0, 3.0, 4.0]).value == 2.0  # cut off below; 4 above
    assert estimate([NAN, 1.0, 2.0, 3.0, 4.0], worst=np.inf).value == 3.0
    found = estimate([NAN, 1.0, 2.0, 3.0, 4.0])
    assert np.isnan(found.low)  # resamples with two of it have no mean
    assert found.high == pytest.approx(11 / 3, abs=0.34)
    assert np.isnan(estimate([NAN, NAN, 2.0, 3.0, 4.0]).value)
    assert np.isnan(estimate([NAN, 3.0]).value)


def test_differences():
    found = estimate_difference(np.array([5.0, 6.0, 7.0, 8.0, 100.0]), np.array([1.0, 1.0, 1.0, 1.0]))
    assert found.value == 6.0
    assert 4.0 <= found.low <= 6.0 <= found.high
    assert np.isnan(estimate_difference(np.array([1.0, 2.0]), np.array([NAN, 2.0])).value)
    np.testing.assert_equal(tuple(estimate_difference(np.array([3.0]), np.array([1.0, 2.0]))), (1.5, NAN, NAN))


def test_interquartile_range():
    assert interquartile_range([1.0, 2.0, 3.0, 4.0, 5.0]) == 2.0
    assert interquartile_range([0.0, 1.0]) == 0.5
    assert np.isnan(interquartile_range([1.0]))
    assert np.isnan(interquartile_range([1.0, NAN, 3.0]))


def test_a_value_stands_until_the_next_one():
    x, y = np.array([10.0, 20.0, 40.0]), np.array([1.0, 2.0, 3.0])
    found = step_values(x, y, np.array([0.0, 10.0, 19.0, 20.0, 39.0, 40.0, 99.0]))
    np.testing.assert_equal(found, [NAN, 1.0, 1.0, 2.0, 2.0, 3.0, 3.0])
    np.testing.assert_equal(step_values(x[:0], y[:0], np.array([5.0])), [NAN])


def test_points_of_several_curves():
    curves = [np.array([1.0, 3.0]), np.array([2.0, 3.0, 5.0])]
    np.testing.assert_array_equal(common_points(curves), [1.0, 2.0, 3.0, 5.0])
    np.testing.assert_array_equal(common_points(curves, 3), [1.0, 3.0, 5.0])
    assert len(common_points([])) == 0


def test_a_band_is_an_estimate_at_each_point():
    values = np.array([[1.0, NAN], [2.0, 0.0], [3.0, 1.0], [4.0, 2.0], [5.0, 3.0]])
    band = make_band(np.array([10.0, 20.0]), values)
    for point in (0, 1):
        at = tuple(column[point] for column in band[1:])
        np.testing.assert_equal(at, tuple(estimate(values[:, point])))
