"""One batch of examples."""

from typing import NamedTuple

from torch import Tensor


class Batch(NamedTuple):
    """Examples, their labels and their rows.

    Attributes:
        x: (batch, *space.shape), in data space.
        y: (batch,) int64 class labels, or None where the data has none.
        index: (batch,) int64, rows of the split the examples came from.
    """

    x: Tensor
    y: Tensor | None
    index: Tensor  # type: ignore[assignment]  # hides tuple.index, which nobody asks of a batch
