"""Smaller images of more channels, and images that leave in parts."""

from collections.abc import Sequence
from itertools import product
from math import prod
from typing import cast

import torch
from torch import Tensor, nn

from gentool.probability.transforms.base import Transform


def halvings(shape: Sequence[int]) -> tuple[int, int]:
    """Return the factor, 2 or 1, by which each side of (channels, height, width) can be divided.

    >>> halvings((1, 28, 7))
    (2, 1)
    """
    height, width = (2 - side % 2 for side in shape[1:])
    return height, width


def squeezed(shape: Sequence[int]) -> tuple[int, int, int]:
    """Return the shape after `Squeeze`: even sides halved, and as many more channels.

    >>> squeezed((1, 28, 7))
    (2, 14, 7)
    """
    height, width = halvings(shape)
    return shape[0] * height * width, shape[1] // height, shape[2] // width


class Squeeze(Transform):
    """Halve every even side: the pixels of a 2x2 block become groups of channels, the block's diagonal first.

    So the halves of the channels are the two colours of a checkerboard over the pixels, and a coupling of them is one
    with a checkerboard mask, at a quarter of the cost.

    Args:
        shape: (channels, height, width) of x.
    """

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.factors = halvings(shape)
        places = product(range(self.factors[0]), range(self.factors[1]))
        self.places = sorted(places, key=lambda place: (sum(place) % 2, place))

    def forward_and_log_det(self, x: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map (batch, c, h, w) to (batch, 4 c, h / 2, w / 2); no volume changes."""
        rows, columns = self.factors
        return torch.cat([x[..., i::rows, j::columns] for i, j in self.places], 1), x.new_zeros(())

    def inverse_and_log_det(self, z: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Put the blocks together again."""
        rows, columns = self.factors
        parts = dict(zip(self.places, z.chunk(len(self.places), 1), strict=True))
        lines = [torch.stack([parts[i, j] for j in range(columns)], -1).flatten(-2) for i in range(rows)]
        return torch.stack(lines, -2).flatten(-3, -2), z.new_zeros(())


class MultiScale(Transform):
    """After each stage but the last, half of the channels leave as noise; the rest goes on: z is what left, joined.

    Args:
        stages: each maps images to images.
        shapes: (channels, height, width) after each stage; all but the last have an even number of channels.
    """

    def __init__(self, stages: Sequence[Transform], shapes: Sequence[Sequence[int]]) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.shapes = [(shape[0] // 2, *shape[1:]) for shape in shapes[:-1]] + [tuple(shapes[-1])]

    def forward_and_log_det(self, x: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map images to (batch, dims), the first to leave first."""
        left, total = [], x.new_zeros(())
        for i, stage in enumerate(self._transforms()):
            x, log_det = stage.forward_and_log_det(x, y)
            total = total + log_det
            if i + 1 < len(self.stages):
                x, z = x.chunk(2, 1)
                left.append(z.flatten(1))
        return torch.cat([*left, x.flatten(1)], 1), total

    def inverse_and_log_det(self, z: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map (batch, dims) to images, the last to leave first."""
        flat = torch.split(z, [prod(shape) for shape in self.shapes], 1)
        parts = [part.reshape(-1, *shape) for part, shape in zip(flat, self.shapes, strict=True)]
        x, total = parts[-1], z.new_zeros(())
        for i, stage in reversed(list(enumerate(self._transforms()))):
            if i + 1 < len(parts):
                x = torch.cat([x, parts[i]], 1)
            x, log_det = stage.inverse_and_log_det(x, y)
            total = total + log_det
        return x, total

    def _transforms(self) -> list[Transform]:
        return cast(list[Transform], list(self.stages))
