"""Data spaces for tests."""

import torch

from gentool.space import DataSpace


def space(
    shape: tuple[int, ...],
    levels: int | None = None,
    classes: int = 0,
    loc: float | None = None,
    scale: float | None = None,
    vocabulary: tuple[str, ...] = (),
) -> DataSpace:
    """A space of that shape, its mean in the middle; its classes get more frequent with their number."""
    middle = (levels - 1) / 2 if levels else 0.0
    loc = middle if loc is None else loc
    scale = (levels - 1.0 if levels else 1.0) if scale is None else scale
    weights = torch.arange(1.0, classes + 1)
    return DataSpace(
        shape=shape,
        levels=levels,
        classes=classes,
        examples=64,
        loc=torch.full(shape, loc),
        scale=torch.full(shape, scale),
        frequencies=weights / weights.sum(),
        vocabulary=vocabulary,
    )
