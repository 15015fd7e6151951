"""Plot of searches: the best value so far by the environment steps that were spent on all suggestions."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from qmix_jax.analysis.curves import add_legend, curve_figure, plot_bands
from qmix_jax.analysis.stats import Band, step_values
from qmix_jax.runs.plots import decorate, save_figure

# Of each suggestion in its order: environment steps spent by its end, and its value, None if it was not complete.
Search = tuple[Sequence[int], Sequence[float | None]]


def best_so_far(search: Search) -> tuple[np.ndarray, np.ndarray]:
    """Return steps and the best value of a complete suggestion by then, float64[N] each; NaN before the first."""
    steps, values = search
    known = np.array([-np.inf if value is None else value for value in values])
    best = np.maximum.accumulate(known)
    return np.asarray(steps, np.float64), np.where(np.isinf(best), np.nan, best)


def plot_search(path: Path, title: str, searches: Mapping[str, Sequence[Search]]) -> None:
    """Draw for each kind of search the mean of its searches' best values so far, and the range over searches."""
    figure = curve_figure(title, 1)
    axes = figure.subplots(1, 1)
    decorate(axes, "Best so far", "environment steps of all suggestions", "return")
    plot_bands(axes, {name: _band([best_so_far(search) for search in found]) for name, found in searches.items()})
    if len(searches) > 1:
        add_legend(figure, axes)
    save_figure(path, figure)


def _band(searches: Sequence[tuple[np.ndarray, np.ndarray]]) -> Band:
    points = np.unique(np.concatenate([steps for steps, _ in searches]))
    # Twice, so that the curve has steps: a suggestion is worth nothing before its end.
    before = np.nextafter(points, 0.0)
    x = np.sort(np.concatenate([points, before[1:]]))
    values = np.array([step_values(steps, best, x) for steps, best in searches])
    return Band(x, values.mean(axis=0), values.min(axis=0), values.max(axis=0))
