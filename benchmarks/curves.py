"""Plots of the benchmarks: panels of figures against a size, with their ranges."""

from pathlib import Path
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FixedLocator, NullLocator
from measuring import Spread

_BLUE, _GREY = "#0072B2", "#595959"


class Panel(NamedTuple):
    """One curve over sizes that double or quadruple."""

    title: str
    x_label: str
    y_label: str
    sizes: list[int]
    figures: list[Spread]
    log: bool = False
    reference: tuple[str, float] | None = None  # a level to compare with


def draw(path: Path, title: str, rows: list[list[Panel]]) -> None:
    """Write `rows` of panels as a PNG."""
    height, width = len(rows), len(rows[0])
    size = (8, 5) if height == width == 1 else (3.6 * width, 2.9 * height)
    figure = Figure(figsize=size, layout="constrained")
    figure.suptitle(title, fontsize=12)
    for axes_row, panels in zip(figure.subplots(height, width, squeeze=False), rows, strict=True):
        for axes, panel in zip(axes_row, panels, strict=True):
            _draw_panel(axes, panel)
    FigureCanvasAgg(figure).print_png(path)


def _draw_panel(axes: Axes, panel: Panel) -> None:
    medians = [figure.median for figure in panel.figures]
    axes.fill_between(
        panel.sizes,
        [figure.low for figure in panel.figures],
        [figure.high for figure in panel.figures],
        color=_BLUE,
        alpha=0.2,
        linewidth=0,
        label="range",
    )
    axes.plot(panel.sizes, medians, color=_BLUE, marker="o", markersize=4, label="median")
    if panel.reference:
        label, level = panel.reference
        axes.axhline(level, color=_GREY, linestyle="--", label=label)
        axes.legend(frameon=False)
    axes.set_title(panel.title, loc="left", fontsize=10, fontweight="bold")
    axes.set_xlabel(panel.x_label)
    axes.set_ylabel(panel.y_label)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator(panel.sizes))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter("{x:,.0f}")
    if panel.log:
        axes.set_yscale("log")
    else:
        axes.set_ylim(0, 1.05 * axes.get_ylim()[1])  # the margin alone is a share of the range, which may be small
    if max(medians) >= 1_000:
        axes.yaxis.set_major_formatter(EngFormatter(sep=" "))
    axes.grid(alpha=0.3, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
