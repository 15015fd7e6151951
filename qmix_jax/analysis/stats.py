"""Statistics over seeds or episodes: interquartile means, bootstrap intervals, and curves on common points.

After R. Agarwal, M. Schwarzer, P. S. Castro, A. Courville, M. G. Bellemare. Deep Reinforcement Learning at the Edge of
the Statistical Precipice. NeurIPS 2021. With one task their stratified bootstrap has one stratum: seeds are resampled.

A seed without a value counts as worse than every other: excluding it would reward an algorithm for failing.
"""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
from scipy import stats

_CONFIDENCE = 0.95
# With fewer seeds, more than 2.5 % of the resamples hold only the lowest value, and as many only the highest: the
# interval spans all seeds.
FEWEST_SEEDS = 5
_TRIMMED = 0.25  # share of the seeds cut off at either end, rounded down to whole seeds
_RESAMPLES = 2_000
_BATCH = 100  # resamples in memory at once


class Estimate(NamedTuple):
    """A figure with its 95 % interval, NaN where unknown."""

    value: float
    low: float
    high: float


class Band(NamedTuple):
    """A curve of several seeds with its 95 % intervals, float64[P] each, NaN where unknown."""

    x: np.ndarray
    value: np.ndarray
    low: np.ndarray
    high: np.ndarray


def interquartile_mean(values: np.ndarray, axis: int = -1) -> np.ndarray:
    """Return the mean without the lowest and the highest quarter of seeds, each rounded down to whole seeds.

    Of five seeds the best and the worst are excluded, of three or fewer none.

    Args:
        values: float64[..., S].
        axis: the axis of the seeds.
    """
    return stats.trim_mean(values, _TRIMMED, axis=axis)


def estimate(values: Sequence[float] | np.ndarray, worst: float = -np.inf) -> Estimate:
    """Return the interquartile mean over seeds with its bootstrap interval.

    Args:
        values: float64[S]; NaN counts as `worst`.
        worst: -inf where higher is better, inf where lower is.

    Returns:
        NaN where seeds without a value decide the figure; a single seed has no interval.
    """
    band = make_band(np.zeros(1), np.asarray(values, np.float64)[:, None], worst)
    return Estimate(float(band.value[0]), float(band.low[0]), float(band.high[0]))


def make_band(x: np.ndarray, values: np.ndarray, worst: float = -np.inf) -> Band:
    """Return `estimate` at every point of a curve, over the same resamples of seeds.

    Args:
        x: float64[P], the points.
        values: float64[S, P].
        worst: as for `estimate`.
    """
    return Band(x, *with_interval(interquartile_mean, (np.where(np.isnan(values), worst, values).T,)))


def estimate_difference(values: np.ndarray, others: np.ndarray) -> Estimate:
    """Return the difference of the interquartile means of float64[S] and float64[R], resampled independently.

    NaN counts as -inf.
    """
    samples = tuple(np.where(np.isnan(sample), -np.inf, sample) for sample in (values, others))
    return Estimate(*map(float, with_interval(_difference, samples)))


def interquartile_range(values: Sequence[float] | np.ndarray) -> float:
    """Return the distance between the quartiles of the seeds' values, interpolated linearly between seeds.

    NaN for fewer than two seeds, or where a seed has no value.
    """
    if len(values) < 2:
        return float("nan")
    low, high = np.quantile(np.asarray(values, np.float64), (0.25, 0.75))
    return float(high - low)


def step_values(x: np.ndarray, y: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return the last measurement at each point: between two evaluations the earlier one counts.

    Args:
        x: float64[M], ascending positions of the measurements.
        y: float64[M].
        points: float64[P].

    Returns:
        float64[P]: y of the largest x up to the point, NaN before the first.
    """
    at = np.searchsorted(x, points, side="right")
    return np.concatenate([[np.nan], y])[at]


def common_points(xs: Sequence[np.ndarray], most: int | None = None) -> np.ndarray:
    """Return all points of several curves, ascending; if more than `most`, evenly spaced ones over their range."""
    points = np.unique(np.concatenate([*xs, np.zeros(0)]))
    return points if most is None or len(points) <= most else np.linspace(points[0], points[-1], most)


def with_interval(
    statistic: Callable[..., np.ndarray],
    samples: tuple[np.ndarray, ...],
    seed: int = 0,
    paired: bool = False,
    quantiles: Literal["inverted_cdf", "linear"] = "inverted_cdf",
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a statistic and its 95 % percentile bootstrap interval: value, low, high, NaN where unknown.

    Args:
        statistic: function of the samples and `axis`, along which it reduces.
        samples: float64[..., S] each; along the last axis they are resampled.
        seed: the same seed and samples always give the same interval.
        paired: whether one resample takes the same positions of all samples.
        quantiles: NumPy's method. The default returns one of the resampled values, and so works beside infinities.
    """
    unknown = np.full(samples[0].shape[:-1], np.nan)
    sizes = [sample.shape[-1] for sample in samples]
    if min(sizes) == 0:
        return unknown, unknown, unknown
    with np.errstate(invalid="ignore"):  # inf - inf, where missing values decide
        value = _known(statistic(*samples))
        if min(sizes) == 1:
            return value, unknown, unknown
        distribution = stats.bootstrap(
            samples,
            statistic,
            n_resamples=_RESAMPLES,
            batch=_BATCH,
            vectorized=True,
            paired=paired,
            axis=-1,
            method="percentile",
            rng=np.random.default_rng(seed),
        ).bootstrap_distribution
    tail = (1.0 - _CONFIDENCE) / 2.0
    low, high = np.quantile(distribution, (tail, 1.0 - tail), axis=-1, method=quantiles)
    return value, _known(low), _known(high)


def _difference(values: np.ndarray, others: np.ndarray, axis: int = -1) -> np.ndarray:
    return interquartile_mean(values, axis) - interquartile_mean(others, axis)


def _known(values: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(values), values, np.nan)
