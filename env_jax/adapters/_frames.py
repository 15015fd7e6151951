"""Plain pictures of a GridWorld25: what `render` returns and `save_animation` strings together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from os import PathLike
from typing import TYPE_CHECKING

import numpy as np

from env_jax.gridworld.constants import GRID_SIZE

if TYPE_CHECKING:
    from PIL import Image

_CELL = 20  # pixels
_MARGIN = 24  # pixels left of and above the grid, for the axes
_SIZE = _MARGIN + GRID_SIZE * _CELL + 1
_LINKS = ((0, 1), (0, 2), (1, 3), (2, 3))  # agents that exchange what they know
# Okabe and Ito's colours, which colour-blind readers tell apart.
_AGENT_COLOURS = ("#56B4E9", "#E69F00", "#CC79A7", "#F0E442")  # light: their numbers are black
_FOOD_COLOUR, _LINK_COLOUR, _GRID_COLOUR = "#D55E00", "#009E73", "#DDDDDD"


def draw(agents: Sequence[tuple[int, int]], foods: Iterable[tuple[int, int, int]]) -> Image.Image:
    """Draw one state: agents as numbered discs, remaining foods as squares, agents' links as lines."""
    from PIL import Image, ImageDraw  # only here: stepping needs no pictures

    image = Image.new("RGB", (_SIZE, _SIZE), "white")
    pen = ImageDraw.Draw(image)
    for line in range(GRID_SIZE + 1):
        at = _MARGIN + line * _CELL
        pen.line((at, _MARGIN, at, _SIZE), _GRID_COLOUR)
        pen.line((_MARGIN, at, _SIZE, at), _GRID_COLOUR)
    for number in range(0, GRID_SIZE, 4):
        middle = _middle(number)
        pen.text((middle, _MARGIN // 2), str(number), "black", anchor="mm")
        pen.text((_MARGIN // 2, middle), str(number), "black", anchor="mm")
    for first, second in _LINKS:
        pen.line((*map(_middle, agents[first]), *map(_middle, agents[second])), _LINK_COLOUR)
    for x, y, _ in foods:
        pen.rectangle(_box(x, y, _CELL // 2 - 4), _FOOD_COLOUR)
    for i, (x, y) in enumerate(agents):
        pen.ellipse(_box(x, y, _CELL // 2 - 2), _AGENT_COLOURS[i])
        pen.text((_middle(x), _middle(y)), str(i), "black", anchor="mm")
    return image


def as_array(image: Image.Image) -> np.ndarray:
    """Return a drawing as uint8[height, width, 3]."""
    return np.array(image)


def save_gif(path: str | PathLike[str], images: Sequence[Image.Image], frames_per_second: float) -> None:
    """Write drawings as an animation that plays for ever.

    Raises:
        OSError: `path` cannot be written.
    """
    duration = round(1000 / frames_per_second)  # ms
    images[0].save(path, format="GIF", save_all=True, append_images=images[1:], duration=duration, loop=0)


def _middle(coordinate: int) -> int:
    return _MARGIN + coordinate * _CELL + _CELL // 2


def _box(x: int, y: int, radius: int) -> tuple[int, int, int, int]:
    return _middle(x) - radius, _middle(y) - radius, _middle(x) + radius, _middle(y) + radius
