"""What every transform does, and those that move dimensions without changing them."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import cast

import torch
from torch import Tensor, nn


class Transform(nn.Module, ABC):
    """An invertible map z = f(x), of an example at a time; from data to noise is forward.

    Networks inside are handed in, so that this package knows none. A log-determinant that is the same for every example
    may come as a scalar: sums broadcast it.
    """

    @abstractmethod
    def forward_and_log_det(self, x: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map data to noise.

        Args:
            x: (batch, …).
            y: (batch,) int64 labels; None where there are none.

        Returns:
            z (batch, …), and log |det dz/dx|, (batch,) or () nats.
        """

    @abstractmethod
    def inverse_and_log_det(self, z: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map noise to data.

        Args:
            z: (batch, …).
            y: (batch,) int64 labels; None where there are none.

        Returns:
            x (batch, …), and log |det dx/dz|, (batch,) or () nats: minus that of `forward_and_log_det` at x.
        """


class Compose(Transform):
    """z = f_n(…f_1(x)): one transform after the other, the first nearest to the data.

    Args:
        transforms: in the order data meets them.
    """

    def __init__(self, transforms: Sequence[Transform]) -> None:
        super().__init__()
        self.transforms = nn.ModuleList(transforms)

    def forward_and_log_det(self, x: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Apply them in order; their log-determinants add."""
        total = x.new_zeros(())
        for transform in cast(Iterable[Transform], self.transforms):
            x, log_det = transform.forward_and_log_det(x, y)
            total = total + log_det
        return x, total

    def inverse_and_log_det(self, z: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Invert them in reverse order."""
        total = z.new_zeros(())
        for transform in cast(Iterable[Transform], reversed(self.transforms)):
            z, log_det = transform.inverse_and_log_det(z, y)
            total = total + log_det
        return z, total


class Flatten(Transform):
    """Read x as a vector.

    Args:
        shape: of one x.
    """

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.shape = tuple(shape)

    def forward_and_log_det(self, x: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return x as (batch, dims); no volume changes."""
        return x.flatten(1), x.new_zeros(())

    def inverse_and_log_det(self, z: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return z as (batch, *shape)."""
        return z.reshape(len(z), *self.shape), z.new_zeros(())


class Permute(Transform):
    """Put the entries of axis 1 (features, or channels) into another order.

    Args:
        order: entry i of z is entry order[i] of x; each of 0..n-1 once.
    """

    order: Tensor
    inverse_order: Tensor

    def __init__(self, order: Sequence[int]) -> None:
        super().__init__()
        self.register_buffer("order", torch.tensor(order))
        self.register_buffer("inverse_order", self.order.argsort())

    def forward_and_log_det(self, x: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Reorder; no volume changes."""
        return x.index_select(1, self.order), x.new_zeros(())

    def inverse_and_log_det(self, z: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Restore the order."""
        return z.index_select(1, self.inverse_order), z.new_zeros(())
