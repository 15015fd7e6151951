"""curves.png: learning curves of several groups of seeds, against environment steps and against wall time."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from qmix_jax.analysis.run_record import RunRecord
from qmix_jax.analysis.stats import Band, common_points, make_band, step_values
from qmix_jax.runs.plots import decorate
from qmix_jax.storage.files import replacing

# Okabe and Ito's colours, but yellow: safe for colour-blind eyes. Line styles tell groups apart in black and white.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_STYLES: tuple[str | tuple[int, tuple[float, ...]], ...] = ("-", "--", "-.", (0, (1.2, 1.2)))
_MOST_POINTS = 200  # of a curve
_LABELS = {"optimality": "share of the best possible return", "mean_return": "discounted team return"}


def training_steps(record: RunRecord) -> np.ndarray:
    """Environment steps of a run's evaluations."""
    return record.evaluations["env_steps"]


def training_seconds(record: RunRecord) -> np.ndarray:
    """Wall time of a run's evaluations since its first chunk: how long programs compile is a matter of caches."""
    return record.evaluations["seconds"] - record.started


def make_bands(
    records: Sequence[RunRecord], score: str, positions: Callable[[RunRecord], np.ndarray]
) -> dict[str, Band]:
    """Interquartile mean of each group's scores with its bootstrap intervals.

    Args:
        records: runs of all groups.
        score: column of the score.
        positions: where a run's evaluations lie on the axis. A run's last policy stands after its end, and each curve
            goes on to the end of its group's longest run.

    Returns:
        The bands by group, in the order of the records.
    """
    groups: dict[str, list[RunRecord]] = {}
    for record in records:
        groups.setdefault(record.group, []).append(record)
    bands = {}
    for name, members in groups.items():
        points = common_points([positions(run) for run in members], _MOST_POINTS)
        values = [step_values(positions(run), run.evaluations[score], points) for run in members]
        bands[name] = make_band(points, np.array(values))
    return bands


def plot_curves(path: Path, title: str, records: Sequence[RunRecord], score: str, wall_time: bool = True) -> None:
    """Draw the curves of all groups.

    Args:
        path: the PNG to write.
        title: what was trained.
        records: runs of all groups.
        score: column of the score, see `score_name`.
        wall_time: whether a second panel shows them against time. Of runs that took turns it would say nothing.
    """
    figure = Figure(
        figsize=(13 if wall_time else 8, 5.6), layout="constrained"
    )  # not pyplot's: nothing global is touched
    figure.get_layout_engine().set(h_pad=0.12, w_pad=0.12)  # type: ignore[union-attr, call-arg]
    figure.suptitle(f"{title}\ninterquartile mean over seeds, 95% bootstrap intervals", fontsize=13)
    left, *right = figure.subplots(1, 1 + wall_time, sharey=True, squeeze=False)[0]
    decorate(left, "Against environment steps", "environment steps", _LABELS[score])
    _plot_bands(left, make_bands(records, score, training_steps))
    for axes in right:
        decorate(axes, "Against wall time", "seconds of training, after the first chunk", "")
        _plot_bands(axes, make_bands(records, score, training_seconds))
    if score == "optimality":
        left.yaxis.set_major_formatter(PercentFormatter(1.0))
    handles, labels = left.get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside lower center", ncols=min(len(handles), 6), frameon=False)
    with replacing(path) as temporary:
        FigureCanvasAgg(figure).print_png(temporary)


def _plot_bands(axes: Axes, bands: Mapping[str, Band]) -> None:
    for number, (name, band) in enumerate(bands.items()):
        colour, style = _COLOURS[number % len(_COLOURS)], _STYLES[number % len(_STYLES)]
        axes.fill_between(band.x, band.low, band.high, color=colour, alpha=0.18, linewidth=0)
        marker = "o" if len(band.x) == 1 else None
        axes.plot(band.x, band.value, color=colour, linestyle=style, linewidth=1.8, marker=marker, label=name)
    last = max([band.x[-1] for band in bands.values() if len(band.x)], default=0.0)
    axes.set_xlim(0.0, 1.02 * last if last > 0.0 else 1.0)
