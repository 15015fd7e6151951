"""Plots of several runs: learning curves by group (curves.png), final scores by setting (settings.png)."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator, PercentFormatter, ScalarFormatter

from qmix_jax.analysis.run_record import RunRecord
from qmix_jax.analysis.stats import Band, common_points, estimate, make_band, step_values
from qmix_jax.runs.plots import DENSITY, decorate, save_figure
from qmix_jax.settings import as_text

# Okabe and Ito's colour-blind safe palette without yellow. Line styles tell groups apart in black and white.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_STYLES: tuple[str | tuple[int, tuple[float, ...]], ...] = ("-", "--", "-.", (0, (1.2, 1.2)))
_MOST_POINTS = 200  # of a curve
_PANELS_A_ROW = 3
_CHARACTERS_AN_INCH, _LINE_SAMPLE = 11, 9  # of a legend; a line's sample and the gaps are as wide as so many
_MOST_TICK_TEXT = 40  # characters of all labels of an axis that fit beside each other
_MOST_MEANS = 12  # distinct values of a setting up to which each has a mean; random draws have none
_LOG_RATIO = 20.0  # ratio of largest to smallest value from which the axis is logarithmic
_ALIKE = 0.001  # shares that differ by less
_LABELS = {"optimality": "share of the best possible return", "mean_return": "discounted team return"}


def training_steps(record: RunRecord) -> np.ndarray:
    """Return the environment steps of a run's evaluations."""
    return record.evaluations["env_steps"]


def training_seconds(record: RunRecord) -> np.ndarray:
    """Return the wall time of a run's evaluations since its first chunk, which excludes compilation."""
    return record.evaluations["seconds"] - record.started


def make_bands(
    records: Sequence[RunRecord], score: str, positions: Callable[[RunRecord], np.ndarray]
) -> dict[str, Band]:
    """Return the interquartile mean of each group's scores with bootstrap intervals.

    A run keeps its last score after its end, so that each curve reaches the end of its group's longest run. Scores are
    compared at equal environment steps, also against time: at equal times, runs of which one is slightly ahead of the
    other would draw a stair.

    Args:
        records: runs of all groups.
        score: column of the score.
        positions: returns where a run's evaluations lie on the x axis, of which the curve has the runs' mean.

    Returns:
        Bands by group, in the order of the records.
    """
    groups: dict[str, list[RunRecord]] = {}
    for record in records:
        groups.setdefault(record.group, []).append(record)
    bands = {}
    for name, members in groups.items():
        points = common_points([training_steps(run) for run in members], _MOST_POINTS)
        values = [step_values(training_steps(run), run.evaluations[score], points) for run in members]
        bands[name] = make_band(_mean_positions(members, positions, points), np.array(values))
    return bands


def _mean_positions(
    members: Sequence[RunRecord], positions: Callable[[RunRecord], np.ndarray], points: np.ndarray
) -> np.ndarray:
    """Return the mean position of the runs at `points`, in steps, of those that got as far: float64[P], ascending."""
    reached = [
        np.interp(points, training_steps(run), positions(run), left=np.nan, right=np.nan)
        for run in members
        if len(training_steps(run))
    ]
    # Where the runs become fewer, the mean can fall.
    return np.maximum.accumulate(np.nanmean(reached, axis=0)) if reached else points


def plot_curves(path: Path, title: str, records: Sequence[RunRecord], score: str, wall_time: bool = True) -> None:
    """Draw the curves of all groups.

    Args:
        path: the PNG to write.
        title: what was trained.
        records: runs of all groups.
        score: column of the score, see `score_name`.
        wall_time: whether a second panel shows them against time, which sweeps of many points have no room for.
    """
    figure = curve_figure(f"{title}\ninterquartile mean over seeds, 95% bootstrap intervals", 1 + wall_time)
    left, *right = figure.subplots(1, 1 + wall_time, sharey=True, squeeze=False)[0]
    decorate(left, "Against environment steps", "environment steps", _LABELS[score])
    plot_bands(left, make_bands(records, score, training_steps))
    for axes in right:
        decorate(axes, "Against wall time", "seconds of training, after the first chunk", "")
        axes.xaxis.set_major_formatter(ScalarFormatter())  # no 50 m for 0.05 s
        plot_bands(axes, make_bands(records, score, training_seconds))
    scale_scores(left, score)
    add_legend(figure, left)
    save_figure(path, figure)


def plot_settings(
    path: Path, title: str, points: Sequence[Mapping[str, Any]], records: Sequence[RunRecord], score: str
) -> None:
    """Draw a panel for each setting: a dot for each run, and means with intervals where values repeat.

    Args:
        path: the PNG to write.
        title: what was trained.
        points: each run's settings by name, the same names for all runs.
        records: the runs.
        score: column of the score.
    """
    names = list(points[0])
    columns = min(len(names), _PANELS_A_ROW)
    rows = math.ceil(len(names) / columns)
    figure = Figure(figsize=(max(6.5, 4.6 * columns), 4.2 * rows), dpi=DENSITY, layout="constrained")
    figure.suptitle(f"{title}\nfinal scores; means over runs with 95% bootstrap intervals", fontsize=12)
    panels = np.ravel(figure.subplots(rows, columns, sharey=True, squeeze=False))
    scores = np.array([[math.nan, *record.evaluations[score]][-1] for record in records])
    for number, (axes, name) in enumerate(zip(panels, names, strict=False)):
        decorate(axes, name, name, "" if number % columns else _LABELS[score])
        _plot_setting(axes, [point[name] for point in points], scores)
    for axes in panels[len(names) :]:
        axes.set_visible(False)
    scale_scores(panels[0], score)
    save_figure(path, figure)


def curve_figure(title: str, panels: int) -> Figure:
    """Return an empty figure for one or two panels of curves; `add_legend` is for their groups."""
    figure = Figure(figsize=(13 if panels > 1 else 8, 5.6), dpi=DENSITY, layout="constrained")  # no pyplot: no globals
    figure.get_layout_engine().set(h_pad=0.12, w_pad=0.12)  # type: ignore[union-attr, call-arg]
    figure.suptitle(title, fontsize=13)
    return figure


def add_legend(figure: Figure, axes: Axes) -> None:
    """Put the legend of a panel below all panels, in as many columns as fit."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        room = int(figure.get_figwidth() * _CHARACTERS_AN_INCH / (_LINE_SAMPLE + max(map(len, labels))))
        columns = max(1, min(len(handles), room))
        figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False)


def scale_scores(axes: Axes, score: str) -> None:
    """Show shares in percent; of scores that are all alike, the whole scale instead of one of their rounding."""
    if score != "optimality":
        return
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    low, high = axes.dataLim.intervaly
    if high - low < _ALIKE:
        axes.set_ylim(min(-0.03, low), max(1.05, high))


def plot_bands(axes: Axes, bands: Mapping[str, Band]) -> None:
    """Draw a curve with its intervals for each group."""
    for number, (name, band) in enumerate(bands.items()):
        colour, style = _COLOURS[number % len(_COLOURS)], _STYLES[number % len(_STYLES)]
        axes.fill_between(band.x, band.low, band.high, color=colour, alpha=0.18, linewidth=0)
        marker = "o" if len(band.x) == 1 else None
        axes.plot(band.x, band.value, color=colour, linestyle=style, linewidth=1.8, marker=marker, label=name)
    last = max([band.x[-1] for band in bands.values() if len(band.x)], default=0.0)
    axes.set_xlim(0.0, 1.02 * last if last > 0.0 else 1.0)


def _plot_setting(axes: Axes, values: Sequence[Any], scores: np.ndarray) -> None:
    distinct = list(dict.fromkeys(values))
    numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    if numeric:
        distinct.sort()
    places = dict(zip(distinct, distinct if numeric else range(len(distinct)), strict=True))
    x = np.array([places[value] for value in values], float)
    axes.plot(x, scores, "o", color=_COLOURS[0], alpha=0.45, markersize=5, markeredgewidth=0)
    if numeric and min(x) > 0 and max(x) / min(x) >= _LOG_RATIO:
        axes.set_xscale("log")
    if len(distinct) <= _MOST_MEANS:
        labels = [as_text(value, "x") for value in distinct]
        axes.set_xticks([places[value] for value in distinct], labels)
        if sum(map(len, labels)) > _MOST_TICK_TEXT:
            axes.set_xticklabels(labels, rotation=20, ha="right")
        axes.xaxis.set_minor_locator(NullLocator())
        for value in distinct:
            mean = estimate(scores[x == places[value]])
            low, high = (0.0 if math.isnan(end) else abs(end - mean.value) for end in (mean.low, mean.high))
            axes.errorbar(
                places[value], mean.value, [[low], [high]], fmt="D", color=_COLOURS[1], capsize=4, markersize=6
            )
    if not numeric:
        axes.set_xlim(-0.5, len(distinct) - 0.5)
