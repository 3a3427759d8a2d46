"""Draws coloured shapes on a canvas: signed distances to their outlines, blended over one pixel."""

from typing import NamedTuple

import torch
from torch import Tensor

COLOURS = {"red": (205, 45, 45), "green": (50, 165, 70), "blue": (50, 85, 205), "yellow": (230, 205, 50)}
SHAPES = ("disc", "square", "triangle")
REACH = (1.0, 0.9, 1.25)
"""Of disc, square and triangle: half its width, in units of its size; their areas are nearly equal."""

_IMAGES = 1024  # drawn at a time
_PAINT = torch.tensor(list(COLOURS.values()), dtype=torch.float32)


class Objects(NamedTuple):
    """One object on each of n canvases; the sides of a canvas are 1 long, its top left corner is the origin.

    Attributes:
        colour: (n,) int64, which of `COLOURS`.
        shape: (n,) int64, which of `SHAPES`.
        x: (n,) of the middle of the box around it, from the left.
        y: (n,) of the middle of the box around it, from the top.
        size: (n,) the radius of a disc; a square or triangle of that size has about the same area.
        tint: (n, 3) what is added to the colour, in grey levels.
    """

    colour: Tensor
    shape: Tensor
    x: Tensor
    y: Tensor
    size: Tensor
    tint: Tensor

    def rows(self, part: slice) -> "Objects":
        """Return those of some canvases."""
        return Objects(*(values[part] for values in self))


def draw(objects: list[Objects], backgrounds: Tensor, side: int) -> Tensor:
    """Draw objects on backgrounds, the first at the bottom.

    Args:
        objects: one or more for each canvas.
        backgrounds: (n, 3, 3) grey levels of three corners of each canvas: top left, top right, bottom left.
        side: of the images, in pixels.

    Returns:
        (n, 3, side, side) uint8.
    """
    images = torch.empty(len(backgrounds), 3, side, side, dtype=torch.uint8)
    place = (torch.arange(side) + 0.5) / side
    x, y = place.view(1, 1, 1, side), place.view(1, 1, side, 1)
    for start in range(0, len(images), _IMAGES):
        part = slice(start, start + _IMAGES)
        corner, right, below = (colour[:, :, None, None] for colour in backgrounds[part].unbind(1))
        canvas = corner + (right - corner) * x + (below - corner) * y
        for each in objects:
            some = each.rows(part)
            cover = (0.5 - side * _distance(some, x[0], y[0])).clamp(0, 1)[:, None]
            paint = (_PAINT[some.colour] + some.tint)[:, :, None, None]
            canvas = torch.lerp(canvas, paint, cover)
        images[part] = canvas.round().clamp(0, 255).to(torch.uint8)
    return images


def _distance(objects: Objects, x: Tensor, y: Tensor) -> Tensor:
    """Return (n, side, side): how far each pixel is outside the outline, negative inside."""
    size = objects.size[:, None, None]
    right, down = x - objects.x[:, None, None], y - objects.y[:, None, None]
    disc = torch.hypot(right, down) - size
    square = torch.maximum(right.abs(), down.abs()) - REACH[1] * size
    # an equilateral triangle on its base; a circle of radius R goes through its corners, and half of R fits inside
    radius = REACH[2] * size / (3**0.5 / 2)
    sides = right.abs() * (3**0.5 / 2) - (down - radius / 4) / 2
    triangle = torch.maximum(down - radius / 4, sides) - radius / 2
    shape = objects.shape[:, None, None]
    return torch.where(shape == 0, disc, torch.where(shape == 1, square, triangle))
