"""settings.png: final scores of a sweep's runs against every setting that it tries."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from qmix_jax.analysis.run_record import RunRecord
from qmix_jax.analysis.stats import estimate
from qmix_jax.runs.plots import decorate
from qmix_jax.settings import as_text
from qmix_jax.storage.files import replacing

_BLUE, _ORANGE = "#0072B2", "#D55E00"
_PANELS_A_ROW = 3
_MOST_MEANS = 12  # values of a setting with a mean of their own: random draws have none
_LOG_RATIO = 20.0  # values that span so much are drawn on a logarithmic axis


def plot_settings(
    path: Path, title: str, points: Sequence[Mapping[str, Any]], records: Sequence[RunRecord], score: str
) -> None:
    """A panel for each setting: a dot for every run, and means with intervals where values repeat.

    Args:
        path: the PNG to write.
        title: what was trained.
        points: every run's settings by name, the same names for all.
        records: the runs.
        score: column of the score.
    """
    names = list(points[0])
    columns = min(len(names), _PANELS_A_ROW)
    rows = math.ceil(len(names) / columns)
    figure = Figure(figsize=(max(6.5, 4.6 * columns), 4.2 * rows), layout="constrained")
    figure.suptitle(f"{title}\nfinal scores; means over runs with 95% bootstrap intervals", fontsize=12)
    panels = np.ravel(figure.subplots(rows, columns, sharey=True, squeeze=False))
    scores = np.array([[math.nan, *record.evaluations[score]][-1] for record in records])
    label = {"optimality": "share of the best possible return", "mean_return": "discounted team return"}[score]
    for number, (axes, name) in enumerate(zip(panels, names, strict=False)):
        decorate(axes, name, name, "" if number % columns else label)
        _plot_setting(axes, [point[name] for point in points], scores)
    for axes in panels[len(names) :]:
        axes.set_visible(False)
    with replacing(path) as temporary:
        FigureCanvasAgg(figure).print_png(temporary)


def _plot_setting(axes: Axes, values: Sequence[Any], scores: np.ndarray) -> None:
    distinct = list(dict.fromkeys(values))
    numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    if numeric:
        distinct.sort()
    places = dict(zip(distinct, distinct if numeric else range(len(distinct)), strict=True))
    x = np.array([places[value] for value in values], float)
    axes.plot(x, scores, "o", color=_BLUE, alpha=0.45, markersize=5, markeredgewidth=0)
    if numeric and min(x) > 0 and max(x) / min(x) >= _LOG_RATIO:
        axes.set_xscale("log")
    if len(distinct) <= _MOST_MEANS:
        axes.set_xticks([places[value] for value in distinct], [as_text(value, "x") for value in distinct])
        axes.xaxis.set_minor_locator(NullLocator())
        for value in distinct:
            mean = estimate(scores[x == places[value]])
            low, high = (0.0 if math.isnan(end) else abs(end - mean.value) for end in (mean.low, mean.high))
            axes.errorbar(places[value], mean.value, [[low], [high]], fmt="D", color=_ORANGE, capsize=4, markersize=6)
    if not numeric:
        axes.set_xlim(-0.5, len(distinct) - 0.5)
