"""Mirrored images in training: an augmentation that a dataset offers where left and right mean the same."""

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from gentool.batch import Batch
from gentool.data.dataset import Dataset, Source

Flip = Literal["none", "horizontal"]
"""none: images as they are; horizontal: half of the training images mirrored left to right, afresh at each visit."""


class Flipped:
    """A split of images, each of which is mirrored with probability 1/2 at each visit; an ordered pass mirrors none.

    What is drawn comes from a batch's own noise, so batch i is still a function of (seed, i).

    Args:
        source: the split.
    """

    def __init__(self, source: Source) -> None:
        self.source = source

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.source)

    def batch(self, index: Tensor, noise: torch.Generator) -> Batch:
        """Return the examples at `index` (batch,), some of them mirrored as `noise` has it."""
        batch = self.source.batch(index, noise)
        is_mirrored = torch.rand(len(index), generator=noise) < 0.5
        chosen = is_mirrored.to(batch.x.device, non_blocking=True)[:, None, None, None]
        return batch._replace(x=torch.where(chosen, batch.x.flip(-1), batch.x))

    def prepare(self, index: Tensor) -> None:
        """Begin to decode the examples at `index` (batch,), where the split decodes."""
        if hasattr(self.source, "prepare"):
            self.source.prepare(index)

    def settled(self) -> Source:
        """Return the split as it is stored: what an ordered pass reads."""
        return self.source

    def to(self, device: torch.device) -> "Flipped":
        """Return the split with its batches on `device`."""
        return Flipped(self.source.to(device))


def flipped(data: Dataset, flip: Flip) -> Dataset:
    """Return a dataset of images whose training split is flipped; validation and test stay as they are.

    Args:
        data: of images.
        flip: none or horizontal.

    Returns:
        The dataset; the mean of its space is that of images and mirror images.
    """
    if flip == "none":
        return data
    space = data.space
    return replace(data, train=Flipped(data.train), space=replace(space, loc=(space.loc + space.loc.flip(-1)) / 2))
