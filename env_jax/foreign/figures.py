"""Matplotlib figures of third-party viewers as pictures, without a window and without leaving figures open."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from warnings import catch_warnings, simplefilter

import numpy as np
from matplotlib import pyplot
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


@contextmanager
def no_windows() -> Iterator[None]:
    """Let a viewer make its figures in memory, whatever backend is in use; its own figures are closed again."""
    backend, before = pyplot.get_backend(), set(pyplot.get_fignums())
    pyplot.switch_backend("agg")
    try:
        with catch_warnings():
            simplefilter("ignore")  # such as: the figure cannot be shown
            yield
    finally:
        for number in set(pyplot.get_fignums()) - before:
            pyplot.close(number)
        pyplot.switch_backend(backend)


def pixels(figure: Figure) -> Any:
    """Return what a figure shows, uint8[H, W, 3]."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.array(canvas.buffer_rgba())[..., :3]
