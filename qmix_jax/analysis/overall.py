"""Statistics over several tasks: interquartile means, performance profiles and probabilities of improvement.

After R. Agarwal, M. Schwarzer, P. S. Castro, A. Courville, M. G. Bellemare. Deep Reinforcement Learning at the Edge of
the Statistical Precipice. NeurIPS 2021. The bootstrap is stratified: the runs of each task are resampled among
themselves. A run without a score counts as worse than every other, see `stats`.
"""

from collections.abc import Sequence

import numpy as np

from qmix_jax.analysis.stats import Band, Estimate, interquartile_mean, with_interval

Strata = Sequence[np.ndarray]  # float64[..., S_t] for each task t: scores of its runs, NaN where unknown


def overall_estimate(scores: Strata) -> Estimate:
    """Return the interquartile mean over the runs of all tasks, with its interval; float64[S_t] for each task.

    A quarter of all runs is cut off at either end. There is no interval where a task has a single run.
    """
    band = overall_band(np.zeros(1), [values[None] for values in scores])
    return Estimate(float(band.value[0]), float(band.low[0]), float(band.high[0]))


def overall_band(x: np.ndarray, scores: Strata) -> Band:
    """Return `overall_estimate` at every point of curves, float64[P, S_t] for each task, over the same resamples."""
    return Band(x, *with_interval(_interquartile_mean, _ranked(scores)))


def performance_profile(thresholds: np.ndarray, scores: Strata) -> Band:
    """Return the share of the runs of all tasks that score above each threshold, float64[P]; float64[S_t] each."""
    above = [(values > thresholds[:, None]).astype(np.float64) for values in _ranked(scores)]
    return Band(thresholds, *with_interval(_mean, tuple(above)))


def probability_of_improvement(scores: Strata, others: Strata) -> Estimate:
    """Return the probability that a run scores higher than one of the `others` on the same task; float64[S_t] each.

    That is the mean over tasks of P(X > Y) + P(X = Y) / 2, the Mann-Whitney statistic as a share of its largest value.
    """
    samples = (*_ranked(scores), *_ranked(others))
    return Estimate(*map(float, with_interval(_improvement, samples)))


def _interquartile_mean(*samples: np.ndarray, axis: int = -1) -> np.ndarray:
    return interquartile_mean(np.concatenate(samples, axis), axis)


def _mean(*samples: np.ndarray, axis: int = -1) -> np.ndarray:
    return np.mean(np.concatenate(samples, axis), axis)


def _improvement(*samples: np.ndarray, axis: int = -1) -> np.ndarray:
    tasks = len(samples) // 2
    pairs = [
        (np.expand_dims(x, -1), np.expand_dims(y, -2)) for x, y in zip(samples[:tasks], samples[tasks:], strict=True)
    ]
    return np.mean([np.mean((x > y) + 0.5 * (x == y), axis=(-2, -1)) for x, y in pairs], axis=0)


def _ranked(scores: Strata) -> tuple[np.ndarray, ...]:
    return tuple(np.where(np.isnan(values), -np.inf, values) for values in scores)
