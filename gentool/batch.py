"""One batch of examples."""

from typing import NamedTuple

from torch import Tensor


class Batch(NamedTuple):
    """Examples, their labels or captions, and their rows.

    Attributes:
        x: (batch, *space.shape), in data space.
        y: the condition, of the kind of `space.condition`: (batch,) int64 class labels, (batch, length) int64 tokens of
            captions, or None where the data has neither.
        index: (batch,) int64, rows of the split the examples came from.
    """

    x: Tensor
    y: Tensor | None
    index: Tensor  # type: ignore[assignment]  # hides tuple.index, which nobody asks of a batch
