"""Grids of images: data space to uint8 pixels, tiles side by side."""

from collections.abc import Sequence
from math import ceil, sqrt

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gentool.space import DataSpace

Pixels = npt.NDArray[np.uint8]
"""(height, width) grey or (height, width, 3) colour, 0 black to 255 white."""

CELL = 56
"""Pixels that the longer side of a small image is enlarged to, about."""


def to_pixels(images: Tensor, space: DataSpace) -> Tensor:
    """Map images in data space to what a screen shows: levels 0..levels-1 to 0..255, reals within 2.5 deviations.

    Args:
        images: (n, *space.shape), integers or floats (means) in data space; a vector is shown as a strip.
        space: facts of the data.

    Returns:
        (n, 1 or 3, height, width) uint8 on the CPU. Two channels gain a dark third; more than three lose the rest.
    """
    x = images.float()
    unit = space.to_model(x) / 5 + 0.5 if space.levels is None else x / (space.levels - 1)
    pixels = unit.nan_to_num(0.5).mul(255).round().clamp(0, 255).to(torch.uint8).cpu()
    if not space.is_image:
        return pixels.reshape(len(pixels), 1, 1, -1)
    if pixels.shape[1] == 2:
        pixels = torch.cat([pixels, torch.zeros_like(pixels[:, :1])], dim=1)
    return pixels[:, :3]


def make_grid(images: Tensor, space: DataSpace, *, columns: int | None = None, padding: int = 2) -> Pixels:
    """Set images side by side, row by row; small ones are enlarged by repeating pixels, so 8 x 8 digits are legible.

    Args:
        images: (n, *space.shape), integers or floats in data space; n > 0.
        space: facts of the data.
        columns: images a row; None: about as square as possible, in full rows where the count allows.
        padding: white pixels around every image.

    Returns:
        (height, width) or (height, width, 3) uint8.
    """
    tiles = to_pixels(images, space)
    factor = max(1, round(CELL / max(tiles.shape[2:])))
    tiles = tiles.repeat_interleave(factor, 2).repeat_interleave(factor, 3)
    n, channels, height, width = tiles.shape
    columns = min(columns or full_rows(n), n)
    rows = ceil(n / columns)
    grid = torch.full(
        (channels, padding + rows * (height + padding), padding + columns * (width + padding)), 255, dtype=torch.uint8
    )
    for i, tile in enumerate(tiles):
        top, left = (padding + (i // columns) * (height + padding), padding + (i % columns) * (width + padding))
        grid[:, top : top + height, left : left + width] = tile
    return _channels_last(grid)


def full_rows(n: int) -> int:
    """Return columns of a grid of n: a divisor from the square root to twice as much, else the root rounded up.

    >>> full_rows(64), full_rows(32), full_rows(40), full_rows(7)
    (8, 8, 8, 3)
    """
    root = ceil(sqrt(n))
    return next((c for c in range(root, 2 * root) if n % c == 0 and c <= 2 * sqrt(n)), root)


def single(image: Tensor, space: DataSpace) -> Pixels:
    """Return one image (*space.shape) as it is, neither enlarged nor framed."""
    return _channels_last(to_pixels(image[None], space)[0])


def _channels_last(pixels: Tensor) -> Pixels:
    array: Pixels = (pixels[0] if pixels.shape[0] == 1 else pixels.permute(1, 2, 0)).contiguous().numpy()
    return array


def annotate(pixels: Pixels, *, title: str, rows: Sequence[str] = (), columns: Sequence[str] = ()) -> Pixels:
    """Set a title above a picture, and names beside its equally high rows and under its equally wide columns.

    Args:
        pixels: what `make_grid` returned; shown pixel for pixel.
        title: one or several lines.
        rows: a name for each row, from the top.
        columns: a name for each column, from the left.

    Returns:
        (height, width, 3) uint8.
    """
    from gentool.plots.figures import new_figure, render

    height, width = pixels.shape[:2]
    lines = 1 + title.count("\n")
    left = 14 + 7 * max((len(name) for name in rows), default=0)
    top, right, bottom = 12 + 17 * lines, 14, 30 if columns else 12
    wide = max(left + width + right, 8 * max(len(line) for line in title.split("\n")) + 20)
    high = top + height + bottom
    figure = new_figure(wide, high)
    for i, name in enumerate(rows):
        y = 1 - (top + height * (i + 0.5) / len(rows)) / high
        figure.text((left - 6) / wide, y, name, ha="right", va="center", fontsize=9)
    for i, name in enumerate(columns):
        x = (left + width * (i + 0.5) / len(columns)) / wide
        figure.text(x, (bottom - 5) / high, name, ha="center", va="top", fontsize=9)
    middle = 0.5 if wide > left + width + right else (left + width / 2) / wide
    figure.text(middle, 1 - 8 / high, title, ha="center", va="top", fontsize=10)
    framed = render(figure)
    # Pasted, not drawn: matplotlib would resample.
    framed[top : top + height, left : left + width] = pixels if pixels.ndim == 3 else pixels[..., None]
    return framed
