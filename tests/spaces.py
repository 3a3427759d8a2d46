"""Data spaces for tests."""

import torch

from gentool.space import DataSpace


def space(
    shape: tuple[int, ...],
    levels: int | None = None,
    classes: int = 0,
    loc: float = 0.0,
    scale: float = 1.0,
    vocabulary: tuple[str, ...] = (),
) -> DataSpace:
    """A space of that shape; its classes get more frequent with their number."""
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
