"""Figures of many episodes with bootstrap intervals, as JSON and as a table."""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

_CONFIDENCE = 0.95
_RESAMPLES = 2_000
_BATCH = 100  # resamples in memory at once


class EpisodeValues(NamedTuple):
    """What each of K episodes came to, float32[K] each."""

    returns: np.ndarray  # discounted team return
    best_returns: np.ndarray  # the best possible one of the same start, NaN where unknown
    lengths: np.ndarray  # steps
    solved: np.ndarray  # 1 or 0
    extra: dict[str, np.ndarray]  # the environment's own, by name


class Figure(NamedTuple):
    """A mean, or a ratio of means, with its 95 % interval; NaN where unknown."""

    value: float
    low: float
    high: float


def summarise(values: EpisodeValues, seed: int) -> dict[str, Figure]:
    """Figures by their names in JSON; the same `seed` always gives the same intervals.

    Optimality is the mean return over the mean best possible return. Its interval resamples episodes, not quotients:
    numerator and denominator of one resample come from the same starts. Where the best possible return is not above 0
    no share of it says anything, and regret, the distance to it, stands in its place.
    """
    figures = {"mean_return": _interval(_mean, seed, values.returns)}
    if np.mean(values.best_returns) > 0.0:
        if np.min(values.best_returns) > 0.0:
            figures["optimality"] = _interval(_ratio, seed, values.returns, values.best_returns)
        else:  # some draws of episodes would have no share
            figures["optimality"] = Figure(float(_ratio(values.returns, values.best_returns)), math.nan, math.nan)
    elif not np.isnan(values.best_returns).any():
        figures["regret"] = _interval(_mean, seed, values.best_returns - values.returns)
    figures["solved"] = _interval(_mean, seed, values.solved)
    figures["mean_length"] = _interval(_mean, seed, values.lengths)
    return figures | {name: _interval(_mean, seed, extra) for name, extra in values.extra.items()}


def _interval(statistic: Callable[..., Any], seed: int, *samples: np.ndarray) -> Figure:
    """Percentile bootstrap over episodes; none for a single episode."""
    doubles = tuple(sample.astype(np.float64) for sample in samples)
    value = float(statistic(*doubles))
    if len(doubles[0]) < 2:
        return Figure(value, math.nan, math.nan)
    low, high = stats.bootstrap(
        doubles,
        statistic,
        paired=True,
        vectorized=True,
        n_resamples=_RESAMPLES,
        batch=_BATCH,
        confidence_level=_CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Figure(value, float(low), float(high))


def _mean(values: np.ndarray, axis: int = -1) -> np.ndarray:
    return np.mean(values, axis=axis)


def _ratio(returns: np.ndarray, best_returns: np.ndarray, axis: int = -1) -> np.ndarray:
    return np.mean(returns, axis=axis) / np.mean(best_returns, axis=axis)


def json_figures(figures: Mapping[str, Figure]) -> dict[str, float | None]:
    """Name, name_low and name_high of every figure; None where unknown."""
    found = {}
    for name, figure in figures.items():
        for suffix, value in zip(("", "_low", "_high"), figure, strict=True):
            found[f"{name}{suffix}"] = value if math.isfinite(value) else None
    return found


def json_episodes(values: EpisodeValues) -> dict[str, list[float | None]]:
    """The episodes' own values, in the order of their starts."""
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


def figure_rows(columns: Mapping[str, Mapping[str, Figure]]) -> list[list[str]]:
    """A head of the policies' names, then a row for each figure, a cell for each policy: value (low to high)."""
    rows = [["", *(policy.replace("_", " ") for policy in columns)]]
    for name in next(iter(columns.values())):
        label = name.removeprefix("mean_").replace("_", " ")
        rows.append([label, *(_shown(name, figures[name]) for figures in columns.values())])
    return rows


def table(columns: Mapping[str, Mapping[str, Figure]]) -> str:
    """`figure_rows` as aligned text."""
    rows = figure_rows(columns)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(lines)


def _shown(name: str, figure: Figure) -> str:
    form, unit = ("{:z.1f}", 1.0) if name == "mean_length" else ("{:z.3f}", 1.0)
    if name in ("optimality", "solved"):
        form, unit = "{:z.1f} %", 100.0
    value, low, high = (form.format(unit * number) for number in figure)
    if math.isnan(figure.low):
        return value
    return f"{value} ({low.removesuffix(' %')} to {high.removesuffix(' %')})"
