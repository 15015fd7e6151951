"""Plot of runs on several tasks: sample efficiency and performance profiles, by group (tasks.png)."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.ticker import MaxNLocator, PercentFormatter

from qmix_jax.analysis.curves import add_legend, curve_figure, plot_bands, training_steps
from qmix_jax.analysis.overall import overall_band, performance_profile
from qmix_jax.analysis.run_record import RunRecord
from qmix_jax.analysis.stats import Band, common_points, step_values
from qmix_jax.analysis.tasks import SCORE, Groups, final_scores
from qmix_jax.runs.plots import decorate, save_figure

_MOST_POINTS = 200  # of a curve
_THRESHOLDS = 201  # of a profile


def sample_efficiency(tasks: Mapping[str, Sequence[RunRecord]]) -> Band:
    """Return a group's curve: the interquartile mean of scores over the runs of all tasks, by environment steps.

    A run keeps its last score after its end, see `curves.make_bands`.
    """
    points = common_points([training_steps(run) for runs in tasks.values() for run in runs], _MOST_POINTS)
    scores = [
        np.array([step_values(training_steps(run), run.evaluations[SCORE], points) for run in runs]).T
        for runs in tasks.values()
    ]
    return overall_band(points, scores)


def profiles(groups: Groups) -> dict[str, Band]:
    """Return each group's performance profile on common thresholds, from 0 or the lowest final score to 1."""
    finals = {name: [final_scores(runs) for runs in tasks.values()] for name, tasks in groups.items()}
    known = np.concatenate([scores[np.isfinite(scores)] for found in finals.values() for scores in found])
    low, high = (min(0.0, *known), max(1.0, *known)) if len(known) else (0.0, 1.0)
    return {name: performance_profile(np.linspace(low, high, _THRESHOLDS), found) for name, found in finals.items()}


def plot_tasks(path: Path, title: str, groups: Groups) -> None:
    """Draw both panels.

    Args:
        path: the PNG to write.
        title: what was trained.
        groups: runs with the column of `with_scores`, on the same tasks in every group.
    """
    figure = curve_figure(f"{title}\nall tasks, 95% stratified bootstrap intervals", 2)
    left, right = figure.subplots(1, 2)
    decorate(left, "Sample efficiency", "environment steps", "interquartile mean of scores")
    plot_bands(left, {name: sample_efficiency(tasks) for name, tasks in groups.items()})
    decorate(right, "Performance profiles", "score", "share of runs that end above it")
    curves = profiles(groups)
    plot_bands(right, curves)
    thresholds = next(iter(curves.values())).x
    right.set_xlim(thresholds[0], thresholds[-1])
    right.set_ylim(-0.02, 1.02)
    for axis in (left.yaxis, right.xaxis, right.yaxis):
        axis.set_major_formatter(PercentFormatter(1.0))
    right.xaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 5, 10]))
    add_legend(figure, left)
    save_figure(path, figure)
