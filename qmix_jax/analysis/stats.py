"""Statistics over the seeds of an algorithm: interquartile means, bootstrap intervals and curves on common points.

After R. Agarwal, M. Schwarzer, P. S. Castro, A. Courville, M. G. Bellemare. Deep Reinforcement Learning at the Edge of
the Statistical Precipice. NeurIPS 2021. With one task their stratified bootstrap has one stratum: seeds are resampled.

A seed without a value counts, as worse than every other: leaving it out would make an algorithm better by failing.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

CONFIDENCE = 0.95
# Of fewer seeds more than 2.5 % of the resamples have the lowest one's value, and as many the highest one's: the
# interval is from one to the other.
FEWEST_SEEDS = 5
_TRIMMED = 0.25  # share of the seeds cut off at either end, rounded down to whole seeds
_RESAMPLES = 2_000
_BATCH = 100  # resamples in memory at once
_BOOTSTRAP_SEED = 0  # the same seeds' values always give the same interval


class Estimate(NamedTuple):
    """A figure of several seeds, with its 95 % interval. NaN where there is none."""

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
    """Mean of the middle half: without the lowest and the highest quarter, each rounded down to whole seeds.

    Of five seeds the best and the worst are left out, of three or fewer none.

    Args:
        values: float64[..., S] where S is at `axis`.
        axis: the seeds'.
    """
    return stats.trim_mean(values, _TRIMMED, axis=axis)


def estimate(values: Sequence[float] | np.ndarray, worst: float = -np.inf) -> Estimate:
    """Interquartile mean over seeds, and its percentile bootstrap interval.

    Args:
        values: float64[S], a value for each seed; NaN counts as `worst`.
        worst: -inf where more is better, inf where less is.

    Returns:
        NaN where so many seeds have no value that they decide; no interval of a single seed.
    """
    band = make_band(np.zeros(1), np.asarray(values, np.float64)[:, None], worst)
    return Estimate(float(band.value[0]), float(band.low[0]), float(band.high[0]))


def make_band(x: np.ndarray, values: np.ndarray, worst: float = -np.inf) -> Band:
    """`estimate` at every point of a curve, from the same resampled seeds.

    Args:
        x: float64[P], the points.
        values: float64[S, P], a row for each seed.
        worst: as for `estimate`.
    """
    return Band(x, *_with_interval(interquartile_mean, (np.where(np.isnan(values), worst, values).T,)))


def estimate_difference(values: np.ndarray, others: np.ndarray) -> Estimate:
    """Difference of two interquartile means, of float64[S] and float64[R], either's seeds resampled by themselves.

    More is better, and NaN counts as -inf.
    """
    samples = tuple(np.where(np.isnan(sample), -np.inf, sample) for sample in (values, others))
    return Estimate(*map(float, _with_interval(_difference, samples)))


def interquartile_range(values: Sequence[float] | np.ndarray) -> float:
    """Distance from the first to the third quartile of the seeds' values, linear between seeds; NaN of fewer than two.

    Seeds without a value make it NaN: how far they lie from the others is unknown.
    """
    if len(values) < 2:
        return float("nan")
    low, high = np.quantile(np.asarray(values, np.float64), (0.25, 0.75))
    return float(high - low)


def step_values(x: np.ndarray, y: np.ndarray, points: np.ndarray) -> np.ndarray:
    """What was last measured at each point: the policy between two evaluations is judged by the first of them.

    Args:
        x: float64[M], where it was measured, ascending.
        y: float64[M].
        points: float64[P].

    Returns:
        float64[P]: y of the greatest x that is not above the point, NaN before the first.
    """
    at = np.searchsorted(x, points, side="right")
    return np.concatenate([[np.nan], y])[at]


def common_points(xs: Sequence[np.ndarray], most: int | None = None) -> np.ndarray:
    """All points of several curves, ascending; where that makes more than `most`, evenly spread ones in their range."""
    points = np.unique(np.concatenate([*xs, np.zeros(0)]))
    return points if most is None or len(points) <= most else np.linspace(points[0], points[-1], most)


def _difference(values: np.ndarray, others: np.ndarray, axis: int = -1) -> np.ndarray:
    return interquartile_mean(values, axis) - interquartile_mean(others, axis)


def _with_interval(
    statistic: Callable[..., np.ndarray], samples: tuple[np.ndarray, ...]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A statistic of samples float64[..., S], and the ends of its interval: float64[...] each, NaN where unknown."""
    unknown = np.full(samples[0].shape[:-1], np.nan)
    sizes = [sample.shape[-1] for sample in samples]
    if min(sizes) == 0:
        return unknown, unknown, unknown
    with np.errstate(invalid="ignore"):  # inf - inf, where seeds without a value decide
        value = _known(statistic(*samples))
        if min(sizes) == 1:
            return value, unknown, unknown
        distribution = stats.bootstrap(
            samples,
            statistic,
            n_resamples=_RESAMPLES,
            batch=_BATCH,
            vectorized=True,
            axis=-1,
            method="percentile",
            rng=np.random.default_rng(_BOOTSTRAP_SEED),
        ).bootstrap_distribution
    tail = (1.0 - CONFIDENCE) / 2.0
    # A quantile that is one of the resampled figures, since nothing lies between a number and infinity.
    low, high = np.quantile(distribution, (tail, 1.0 - tail), axis=-1, method="inverted_cdf")
    return value, _known(low), _known(high)


def _known(values: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(values), values, np.nan)
