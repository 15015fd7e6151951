"""training_plots.png and diagnostics_plots.png: learning curves and diagnostics of a run."""

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator, PercentFormatter
from PIL import Image

from qmix_jax.storage.files import replacing
from qmix_jax.storage.logs import EpisodeRows

_BLUE, _ORANGE, _GREEN, _GREY = "#0072B2", "#D55E00", "#009E73", "#595959"  # Okabe and Ito: colour-blind safe
DENSITY = 200  # dots per inch: two for each pixel of a page, for sharp print on dense screens
_MAX_POINTS = 1_000  # per curve
_FEW = 40  # up to so many points get markers


def plot_training(
    path: Path,
    title: str,
    episodes: EpisodeRows,
    evaluations: Mapping[str, np.ndarray],
    best_return: float = math.nan,
    baseline_return: float = math.nan,
    baseline_name: str = "baseline",
) -> None:
    """Draw a run's learning curves.

    Args:
        path: the PNG to write.
        title: what was trained.
        episodes: every finished episode.
        evaluations: columns of evaluation_log.csv.
        best_return: mean best possible return from the evaluation's starts, NaN if unknown.
        baseline_return: mean return of the environment's baseline from the same starts, NaN if unknown.
        baseline_name: name of that baseline.
    """
    figure, panels = _make_panels(title, rows=3)
    _plot_evaluation(panels[0, 0], evaluations, best_return, baseline_return, baseline_name)
    _plot_success(panels[0, 1], evaluations)
    _plot_episodes(panels[1, 0], "Episode returns while exploring", "discounted team return", episodes.episode_return)
    _plot_episodes(panels[1, 1], "Training loss", "mean squared TD error (log scale)", episodes.loss, log=True)
    _plot_episodes(panels[2, 0], "Q-values", "mean q_tot of the batches", episodes.q_value)
    _plot_exploration(panels[2, 1], episodes)
    save_figure(path, figure)


def plot_diagnostics(path: Path, title: str, diagnostics: Mapping[str, np.ndarray], max_grad_norm: float) -> None:
    """Draw diagnostics for a run that does not learn.

    Args:
        path: the PNG to write.
        title: what was trained.
        diagnostics: columns of diagnostics_log.csv.
        max_grad_norm: norm above which gradients are clipped.
    """
    figure, panels = _make_panels(title, rows=2)
    _plot_q_values(panels[0, 0], diagnostics)
    _plot_diagnostic(panels[0, 1], "Target-network lag", "change of the bootstrap's q_tot", diagnostics, "target_lag")
    _plot_gradients(panels[1, 0], diagnostics, max_grad_norm)
    _plot_diagnostic(
        panels[1, 1], "Spread of TD errors", "standard deviation over a batch", diagnostics, "td_error_std"
    )
    save_figure(path, figure)


def save_figure(path: Path, figure: Figure) -> None:
    """Write a figure as a PNG of 256 colours, a third of the size that all colours take."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    image = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    with replacing(path) as temporary:
        image.save(temporary, "PNG", dpi=(figure.dpi, figure.dpi))


def moving_average(values: np.ndarray, window: int) -> np.ndarray:
    """Return the mean of each value and up to `window` - 1 values before it, ignoring NaNs."""
    known = ~np.isnan(values)
    sums = np.cumsum(np.where(known, values, 0.0), dtype=np.float64)
    counts = np.cumsum(known)
    sums[window:] -= sums[:-window].copy()
    counts[window:] -= counts[:-window].copy()
    return np.divide(sums, counts, out=np.full(len(values), np.nan), where=counts > 0)


def _make_panels(title: str, rows: int) -> tuple[Figure, np.ndarray]:
    """Create a figure with two columns of panels."""
    figure = Figure(figsize=(13, 4 * rows), dpi=DENSITY, layout="constrained")  # not pyplot's: no global state
    figure.get_layout_engine().set(h_pad=0.12, w_pad=0.12)  # type: ignore[union-attr, call-arg]
    figure.suptitle(title, fontsize=14)
    return figure, figure.subplots(rows, 2)


def _plot_evaluation(
    axes: Axes, evaluations: Mapping[str, np.ndarray], best_return: float, baseline_return: float, baseline_name: str
) -> None:
    decorate(axes, "Greedy evaluation", "environment steps", "discounted team return (0.95)")
    if not math.isnan(best_return):
        axes.axhline(best_return, color=_GREEN, linestyle="--", label=f"best possible, {best_return:.2f}")
    if not math.isnan(baseline_return):
        axes.axhline(baseline_return, color=_GREY, linestyle=":", label=f"{baseline_name}, {baseline_return:.2f}")
    _plot_column(axes, evaluations, "mean_return", "greedy policy", _BLUE, "{:z.2f}")
    low, high = axes.get_ylim()
    axes.set_ylim(min(0.0, low), high + 0.03 * abs(high))
    _add_legend(axes)


def _plot_success(axes: Axes, evaluations: Mapping[str, np.ndarray]) -> None:
    """Draw optimality and success rate, or the length of episodes where the environment defines neither."""
    shares = np.concatenate([evaluations["optimality"], evaluations["solved"]])
    if len(shares) and np.isnan(shares).all():
        decorate(axes, "Greedy evaluation: episodes", "environment steps", "mean length in steps")
        _plot_column(axes, evaluations, "mean_length", "greedy policy", _BLUE, "{:z.1f}")
        axes.set_ylim(0.0, 1.05 * axes.get_ylim()[1])
        _add_legend(axes)
        return
    wholes = {"optimality": "best possible", "solved": "episodes"}
    known = [whole for column, whole in wholes.items() if not np.isnan(evaluations[column]).all()]
    label = f"share of {', of '.join(known or wholes.values())}"
    decorate(axes, "Greedy evaluation: success", "environment steps", label)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    _plot_column(axes, evaluations, "optimality", "optimality", _BLUE, "{:z.0%}")
    _plot_column(axes, evaluations, "solved", "success rate", _ORANGE, "{:z.0%}", linestyle="--")
    axes.set_ylim(min(-0.03, axes.get_ylim()[0]), 1.05)
    _add_legend(axes)


def _plot_q_values(axes: Axes, diagnostics: Mapping[str, np.ndarray]) -> None:
    decorate(axes, "Q-values against the largest possible return", "environment steps", "mean q_tot of the batches")
    _plot_column(axes, diagnostics, "q_value", "q_tot", _BLUE, "{:z.2f}")
    q_bound = diagnostics["q_bound"][-1] if len(diagnostics["q_bound"]) else math.nan
    if not math.isnan(q_bound):
        axes.axhline(q_bound, color=_GREEN, linestyle="--", label=f"largest possible return, {q_bound:.2f}")
    low, high = axes.get_ylim()
    axes.set_ylim(min(0.0, low), high + 0.03 * abs(high))
    _add_legend(axes)


def _plot_diagnostic(axes: Axes, title: str, unit: str, diagnostics: Mapping[str, np.ndarray], name: str) -> None:
    decorate(axes, title, "environment steps", unit)
    _plot_column(axes, diagnostics, name, "mean over updates", _BLUE, "{:z.3g}")
    axes.set_ylim(0.0, 1.05 * axes.get_ylim()[1])
    _add_legend(axes)


def _plot_gradients(axes: Axes, diagnostics: Mapping[str, np.ndarray], max_grad_norm: float) -> None:
    decorate(axes, "Gradients", "environment steps", "norm before clipping (log scale)")
    right = axes.twinx()
    right.spines["top"].set_visible(False)
    right.set_ylabel("share of clipped updates", color=_ORANGE)
    right.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.yaxis.label.set_color(_BLUE)
    _plot_column(axes, diagnostics, "grad_norm", "mean norm", _BLUE, "{:z.3g}")
    _plot_column(right, diagnostics, "clipped", "clipped", _ORANGE, "{:z.0%}", linestyle="--")
    right.set_ylim(-0.03, 1.05)
    if (diagnostics["grad_norm"] > 0.0).any():
        axes.axhline(max_grad_norm, color=_GREY, linestyle=":", label=f"clipping at {max_grad_norm:g}")
        axes.set_yscale("log")
    _add_legend(axes, right)


def _plot_column(
    axes: Axes,
    table: Mapping[str, np.ndarray],
    name: str,
    label: str,
    color: str,
    number: str,
    linestyle: str = "-",
) -> None:
    values = table[name]
    known = values[np.isfinite(values)]
    if not len(known):
        return
    steps = table["env_steps"]
    marker = "o" if len(values) <= _FEW else None
    label = f"{label}, final {number.format(known[-1])}"
    axes.plot(steps, values, color=color, linestyle=linestyle, marker=marker, markersize=4, label=label)
    axes.set_xlim(0.0, 1.02 * steps[-1])


def _plot_episodes(axes: Axes, title: str, unit: str, values: np.ndarray, log: bool = False) -> None:
    decorate(axes, title, "episode", unit)
    if log:
        values = np.where(values > 0.0, values, np.nan)
    if _plot_raw_and_mean(axes, values) and log:
        axes.set_yscale("log")
        low, high = np.nanmin(values), np.nanmax(values)
        if high < 1.01 * low:  # equal losses, but for rounding: Matplotlib's limits would be the same number
            axes.set_ylim(low / 2, 2 * high)
    _add_legend(axes)


def _plot_exploration(axes: Axes, episodes: EpisodeRows) -> None:
    decorate(axes, "Epsilon and TD error", "episode", "epsilon: share of random actions")
    right = axes.twinx()
    right.spines["top"].set_visible(False)
    right.set_ylabel("mean absolute TD error", color=_ORANGE)
    axes.yaxis.label.set_color(_BLUE)
    axes.set_ylim(-0.03, 1.05)
    at = _sample(len(episodes.episode))
    if len(at):
        marker = "." if len(at) <= _FEW else None
        axes.plot(at, episodes.epsilon[at], color=_BLUE, linestyle="--", marker=marker, label="epsilon")
    _plot_raw_and_mean(right, episodes.td_error, _ORANGE, "TD error: ")
    _add_legend(axes, right)


def _plot_raw_and_mean(axes: Axes, values: np.ndarray, color: str = _BLUE, name: str = "") -> bool:
    """Plot every value, or their range if there are too many, and a moving average. False without data."""
    if not np.isfinite(values).any():
        return False
    at = _sample(len(values))
    if len(values) > _MAX_POINTS:
        starts = np.concatenate([[0], at[:-1] + 1])
        lowest, highest = np.fmin.reduceat(values, starts), np.fmax.reduceat(values, starts)
        axes.fill_between(at, lowest, highest, color=color, alpha=0.25, linewidth=0, label=f"{name}range")
    else:
        axes.plot(at, values, color=color, alpha=0.35, linewidth=0, marker=".", label=f"{name}each episode")
    window = max(1, min(len(values) // 20, max(100, len(values) // 100)))
    average = moving_average(values, window)[at]
    marker = "." if len(at) <= _FEW else None
    axes.set_xlim(-0.02 * len(values), 1.02 * len(values))
    axes.plot(at, average, color=color, marker=marker, label=f"moving average over {window}")
    return True


def _sample(length: int) -> np.ndarray:
    """Return the indices of evenly spaced episodes, including the last."""
    count = min(length, _MAX_POINTS)
    return np.arange(1, count + 1) * length // max(count, 1) - 1


def decorate(axes: Axes, title: str, x_label: str, y_label: str) -> None:
    """Set title, labels and grid of a panel whose x-axis is a count: environment steps, episodes, seconds."""
    axes.set_title(title, loc="left", pad=26, fontweight="bold")
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(EngFormatter(sep=" "))
    axes.yaxis.get_offset_text().set_horizontalalignment("right")  # such as 1e-9, beside the legend
    axes.grid(alpha=0.3, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def _add_legend(*shared: Axes) -> None:
    """Add a legend between title and panel, or a note if there is no data."""
    entries = [axes.get_legend_handles_labels() for axes in shared]
    handles = [handle for found, _ in entries for handle in found]
    labels = [label for _, found in entries for label in found]
    if not handles:
        shared[0].text(0.5, 0.5, "no data", transform=shared[0].transAxes, ha="center", color=_GREY)
        return
    shared[0].legend(
        handles,
        labels,
        loc="lower left",
        bbox_to_anchor=(0.0, 1.0),
        ncols=len(handles),
        borderaxespad=0.2,
        frameon=False,
        fontsize=9,
    )
