"""The facts of a data space, measured on the training split."""

import torch
from torch import Tensor

from gentool.data.moments import location_and_scale
from gentool.errors import UsageError
from gentool.space import DataSpace

_CHUNK = 1 << 20  # numbers held in int64 at a time: torch widens all that it adds up


def image_space(
    x: Tensor,
    y: Tensor | None,
    *,
    stored_levels: int,
    levels: int,
    classes: int,
    examples: int,
    class_names: tuple[str, ...] = (),
) -> DataSpace:
    """Return the space of images.

    Args:
        x: (n, channels, height, width) uint8 training images as they are stored; all of them, or a sample.
        y: (examples,) labels of the training split, or None.
        stored_levels: levels of `x`.
        levels: levels that batches have: 2 where they are binarised.
        classes: number of classes, 0 without labels.
        examples: size of the training split.
        class_names: names of the classes, where they have names.

    Returns:
        The facts of the data; location and scale are measured on `x`.
    """
    total = torch.zeros(x.shape[1:], dtype=torch.int64)
    for part in torch.split(x, max(1, _CHUNK // x[0].numel())):
        total += part.sum(0, dtype=torch.int64)
    loc = total.double() * ((levels - 1) / (stored_levels - 1) / len(x))
    return DataSpace(
        shape=tuple(x.shape[1:]),
        levels=levels,
        classes=classes,
        examples=examples,
        loc=loc.float(),
        scale=torch.full(x.shape[1:], levels - 1.0),
        frequencies=frequencies(y, classes),
        vocabulary=(),
        class_names=class_names,
    )


def point_space(x: Tensor, y: Tensor | None, classes: int, class_names: tuple[str, ...] = ()) -> DataSpace:
    """Return the space of real vectors, measured by `location_and_scale`."""
    loc, scale = location_and_scale(x)
    return DataSpace(
        shape=tuple(x.shape[1:]),
        levels=None,
        classes=classes,
        examples=len(x),
        loc=loc,
        scale=scale,
        frequencies=frequencies(y, classes),
        vocabulary=(),
        class_names=class_names,
    )


def frequencies(y: Tensor | None, classes: int) -> Tensor:
    """Return (classes,) the share of each class among labels (examples,); empty without labels."""
    if y is None or not classes:
        return torch.zeros(0)
    return torch.bincount(y, minlength=classes).double().div(len(y)).float()


def check_labels(y: Tensor, examples: int, classes: int, where: str) -> None:
    """Raise UsageError, naming the first offender, where labels are missing or outside 0..classes-1.

    Args:
        y: what claims to be (examples,) integer labels.
        examples: how many there should be.
        classes: number of classes.
        where: the file they came from.
    """
    if y.is_floating_point() or y.ndim != 1 or len(y) != examples:
        raise UsageError(
            f"{where}: labels have shape {tuple(y.shape)} and type {y.dtype}; expected ({examples},) integers"
        )
    bad = ((y < 0) | (y >= classes)).nonzero()
    if len(bad):
        row = int(bad[0])
        raise UsageError(f"{where}: label {int(y[row])} of example {row} lies outside 0..{classes - 1}")
