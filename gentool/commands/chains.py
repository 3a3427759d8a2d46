"""Samples that are the ends of chains: the chain as a moving picture, and what it measured of itself."""

import torch
from torch import Tensor

from gentool.models.base import GenerativeModel, Refines
from gentool.plots.grids import Pixels
from gentool.plots.pictures import draw_examples
from gentool.training.console import number
from gentool.training.rng import fork

FRAMES, REST = 40, 10
"""Moments in a moving picture, and how often the last is repeated."""

SHOWN = 64
"""Images in a frame; all points of the first batch."""


def frames_of(model: GenerativeModel, n: int, y: Tensor | None, seed: int) -> list[Pixels]:
    """Draw the chains of the first batch of samples from their start to their end.

    Args:
        model: any; only one that refines has frames.
        n: samples of that batch.
        y: (n,) labels, or None.
        seed: of the samples.

    Returns:
        Frames of one size, the last repeated; none where there are no chains.
    """
    if not isinstance(model, Refines):
        return []
    with fork(seed, 0), torch.no_grad():
        moments = model.chain(n, y, frames=FRAMES)
    if moments is None:
        return []
    space = model.space
    title = f"{n} chains, from their start to their end"
    shown = [x if space.is_points else x[:SHOWN] for x in moments]
    drawn = [draw_examples(x, space, None if y is None else y[: len(x)], title=title) for x in shown]
    return [*drawn, *drawn[-1:] * (REST - 1)]


def remarks(model: GenerativeModel) -> list[str]:
    """Return what the model's last sampling measured of itself, a line each."""
    return [f"{name}: {number(value)}" for name, value in model.remarks().items()]
