"""Pictures as an animation. Host code, with Pillow."""

from collections.abc import Sequence
from os import PathLike

from PIL import Image

_COLORS = 96  # of the palette


def write_gif(path: str | PathLike[str], frames: Sequence[Image.Image], milliseconds: Sequence[int]) -> None:
    """Write pictures as an endless GIF, each shown for its milliseconds.

    Raises:
        OSError: `path` cannot be written.
    """
    first, *rest = (frame.quantize(_COLORS, dither=Image.Dither.NONE) for frame in frames)
    first.save(path, "GIF", save_all=True, append_images=rest, duration=list(milliseconds), loop=0)
