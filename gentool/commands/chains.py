"""Samples that are the ends of chains: the chain as a moving picture, and what it measured of itself."""

import torch
from torch import Tensor

from gentool.models.base import GenerativeModel, Refines
from gentool.plots.grids import Pixels
from gentool.plots.pictures import draw_examples
from gentool.space import DataSpace
from gentool.training.console import number
from gentool.training.rng import fork

FRAMES, REST = 40, 10
"""Moments in a moving picture, and how often the last is repeated."""

SHOWN = 64
"""Images in a frame; all points of the first batch."""


def moments_of(model: GenerativeModel, n: int, y: Tensor | None, seed: int) -> Tensor | None:
    """Run the chains of the first batch of samples again, and keep what they pass through.

    Args:
        model: any; only one that refines has chains.
        n: samples of that batch.
        y: (n,) labels, or None.
        seed: of the samples.

    Returns:
        (frames, n, *space.shape) in data space; None where there are no chains.
    """
    if not isinstance(model, Refines):
        return None
    with fork(seed, 0), torch.no_grad():
        return model.chain(n, y, frames=FRAMES)


def moving_picture(moments: Tensor, space: DataSpace, y: Tensor | None) -> list[Pixels]:
    """Draw the chains from their start to their end.

    Args:
        moments: (frames, n, *space.shape) in data space.
        space: facts of the data.
        y: (n,) labels, or None.

    Returns:
        Frames of one size, the last repeated.
    """
    title = f"{moments.shape[1]} chains, from their start to their end"
    shown = [x if space.is_points else x[:SHOWN] for x in moments]
    drawn = [draw_examples(x, space, None if y is None else y[: len(x)], title=title) for x in shown]
    return [*drawn, *drawn[-1:] * (REST - 1)]


def remarks(model: GenerativeModel) -> list[str]:
    """Return what the model's last sampling measured of itself, a line each."""
    return [f"{name}: {number(value)}" for name, value in model.remarks().items()]
