"""Pictures as files, by Pillow."""

from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from gentool.plots.grids import Pixels


def write_png(file: Path | BinaryIO, pixels: Pixels) -> None:
    """Write a picture as a PNG file.

    Args:
        file: path of the file, or a binary file open for writing.
        pixels: (height, width) or (height, width, 3) uint8.
    """
    from PIL import Image

    Image.fromarray(pixels).save(file, format="PNG")


def write_gif(file: Path | BinaryIO, frames: Sequence[Pixels], milliseconds: int) -> None:
    """Write pictures as a GIF that plays for ever.

    All frames share one palette, taken from all of them side by side, so nothing flickers.

    Args:
        file: path of the file, or a binary file open for writing.
        frames: pictures of one size.
        milliseconds: how long each stands.
    """
    from PIL import Image

    pictures = [Image.fromarray(frame) for frame in frames]
    if pictures[0].mode == "RGB":
        palette = Image.fromarray(np.concatenate(frames)).quantize(256)
        pictures = [p.quantize(palette=palette, dither=Image.Dither.NONE) for p in pictures]
    pictures[0].save(file, format="GIF", save_all=True, append_images=pictures[1:], duration=milliseconds, loop=0)
