"""Lines, shapes and text with smooth edges, drawn with Pillow. Host code."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

INK, PAPER = "#1A1A1A", "#FFFFFF"
_FINE = 2  # supersampling: drawn larger by this factor, then scaled down


class Pen:
    """Draws on a picture of `width` x `height` pixels. Lengths are in pixels, colours '#RRGGBB'."""

    def __init__(self, width: int, height: int) -> None:
        self._size = width, height
        self._image = Image.new("RGB", (width * _FINE, height * _FINE), PAPER)
        self._draw = ImageDraw.Draw(self._image)

    def picture(self) -> Image.Image:
        """Return the picture."""
        return self._image.resize(self._size, Image.Resampling.BOX)

    def line(self, points: Sequence[Any], color: str, width: float) -> None:
        """Draw a line through (x, y) points."""
        self._draw.line([(_FINE * x, _FINE * y) for x, y in points], color, round(_FINE * width), joint="curve")

    def dashes(self, start: np.ndarray, end: np.ndarray, color: str, width: float, dash: float = 5.0) -> None:
        """Draw a dashed line."""
        length = float(np.hypot(*(end - start)))
        for begin in np.arange(0.0, length, 2 * dash):
            ends = [start + (end - start) * min(at, length) / length for at in (begin, begin + dash)]
            self.line(ends, color, width)

    def circle(
        self, center: Sequence[float], radius: float, fill: str | None, outline: str, width: float = 1.5
    ) -> None:
        """Draw a circle around (x, y); `fill` None is transparent."""
        box = [_FINE * (at + side) for side in (-radius, radius) for at in center]
        self._draw.ellipse(box, fill, outline, round(_FINE * width))

    def diamond(self, center: Sequence[float], radius: float, fill: str | None, outline: str, width: float) -> None:
        """Draw a diamond around (x, y)."""
        x, y = center
        corners = [(x, y - radius), (x + radius, y), (x, y + radius), (x - radius, y)]
        self._draw.polygon([(_FINE * a, _FINE * b) for a, b in corners], fill, outline, round(_FINE * width))

    def bar(self, x: float, y: float, width: float, height: float, color: str) -> None:
        """Draw a filled rectangle from its upper left corner."""
        self._draw.rectangle([_FINE * x, _FINE * y, _FINE * (x + width), _FINE * (y + height)], color)

    def text(
        self, at: Sequence[float], text: str, size: int, color: str = INK, anchor: str = "ls", halo: bool = False
    ) -> None:
        """Draw text at (x, y) with one of Pillow's anchors; a halo keeps it readable on lines."""
        self._draw.text(
            (_FINE * at[0], _FINE * at[1]),
            text,
            color,
            ImageFont.load_default(_FINE * size),
            anchor,
            stroke_width=3 * _FINE // 2 if halo else 0,
            stroke_fill=PAPER,
        )
