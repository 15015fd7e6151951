"""Figures of many episodes with bootstrap intervals, as JSON and as a table."""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from qmix_jax.analysis.stats import Estimate, with_interval


class EpisodeValues(NamedTuple):
    """Results of K episodes, float32[K] each."""

    returns: np.ndarray  # discounted team return
    best_returns: np.ndarray  # best possible return of the same start, NaN where unknown
    lengths: np.ndarray  # steps
    solved: np.ndarray  # 1 or 0, NaN where the environment defines no success
    extra: dict[str, np.ndarray]  # the environment's own metrics, by name


def score_episodes(values: EpisodeValues, seed: int) -> dict[str, Estimate]:
    """Return the mean figures of episodes, by their names in JSON. Equal seeds give equal intervals.

    Optimality is the mean return over the mean best possible return, both of the same resampled starts. Where the best
    possible return is not above 0, a share of it has no meaning: regret, the distance to it, takes its place.
    """
    figures = {"mean_return": _interval(_mean, seed, values.returns)}
    if np.mean(values.best_returns) > 0.0:
        if np.min(values.best_returns) > 0.0:
            figures["optimality"] = _interval(_ratio, seed, values.returns, values.best_returns)
        else:  # some resamples would have no optimality
            figures["optimality"] = Estimate(float(_ratio(values.returns, values.best_returns)), math.nan, math.nan)
    elif not np.isnan(values.best_returns).any():
        figures["regret"] = _interval(_mean, seed, values.best_returns - values.returns)
    has_success = not np.isnan(values.solved).any()
    figures["solved"] = _interval(_mean, seed, values.solved) if has_success else Estimate(*3 * (math.nan,))
    figures["mean_length"] = _interval(_mean, seed, values.lengths)
    return figures | {name: _interval(_mean, seed, extra) for name, extra in values.extra.items()}


def _interval(statistic: Callable[..., Any], seed: int, *samples: np.ndarray) -> Estimate:
    """Resample episodes: a start's return and its best possible return stay together."""
    doubles = tuple(sample.astype(np.float64) for sample in samples)
    return Estimate(*map(float, with_interval(statistic, doubles, seed, paired=True, quantiles="linear")))


def _mean(values: np.ndarray, axis: int = -1) -> np.ndarray:
    return np.mean(values, axis=axis)


def _ratio(returns: np.ndarray, best_returns: np.ndarray, axis: int = -1) -> np.ndarray:
    return np.mean(returns, axis=axis) / np.mean(best_returns, axis=axis)


def json_figures(figures: Mapping[str, Estimate]) -> dict[str, float | None]:
    """Return every figure as name, name_low and name_high; None where unknown."""
    found = {}
    for name, figure in figures.items():
        for suffix, value in zip(("", "_low", "_high"), figure, strict=True):
            found[f"{name}{suffix}"] = value if math.isfinite(value) else None
    return found


def json_episodes(values: EpisodeValues) -> dict[str, list[float | None]]:
    """Return the values of every episode, in the order of the starts."""
    columns = {
        "return": values.returns,
        "best_return": values.best_returns,
        "length": values.lengths,
        "solved": values.solved,
        **values.extra,
    }
    return {
        name: [round(value, 6) if math.isfinite(value) else None for value in column.astype(np.float64).tolist()]
        for name, column in columns.items()
    }


def figure_cells(columns: Mapping[str, Mapping[str, Estimate]]) -> list[tuple[str, str, list[tuple[str, str]]]]:
    """Return name and label of each figure, and for each policy its value and its interval, 'low to high' or ''."""
    return [
        (name, _label(name), [_shown(name, of[name]) for of in columns.values()])
        for name, first in next(iter(columns.values())).items()
        if not (name == "solved" and math.isnan(first.value))  # undefined in the environment, and so for every policy
    ]


def _label(name: str) -> str:
    return "success rate" if name == "solved" else name.removeprefix("mean_").replace("_", " ")


def figure_rows(columns: Mapping[str, Mapping[str, Estimate]]) -> list[list[str]]:
    """Return a header of policies, then a row for each figure with a cell for each policy: value (low to high)."""
    rows = [["", *(policy.replace("_", " ") for policy in columns)]]
    for _, label, cells in figure_cells(columns):
        rows.append([label, *(f"{value} ({interval})" if interval else value for value, interval in cells)])
    return rows


def score_table(columns: Mapping[str, Mapping[str, Estimate]]) -> str:
    """Return `figure_rows` as aligned text."""
    rows = figure_rows(columns)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(lines)


def _shown(name: str, figure: Estimate) -> tuple[str, str]:
    form, unit = ("{:z.1f}", 1.0) if name == "mean_length" else ("{:z.3f}", 1.0)
    if name in ("optimality", "solved"):
        form, unit = "{:z.1f} %", 100.0
    value, low, high = (form.format(unit * number) for number in figure)
    return value, "" if math.isnan(figure.low) else f"{low.removesuffix(' %')} to {high.removesuffix(' %')}"
