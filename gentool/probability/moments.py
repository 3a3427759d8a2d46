"""Mean and variance of what comes in batches."""

import torch
from torch import Tensor


class Moments:
    """The mean and the variance of rows seen so far, by Chan's update: exact in fp32, however many rows there are.

    Attributes:
        n: rows seen.
        mean: (d,); a zero before any row.
    """

    def __init__(self) -> None:
        self.n = 0
        self.mean = torch.zeros(())
        self._square = torch.zeros(())

    def add(self, rows: Tensor) -> None:
        """Take (batch, d) more rows in."""
        new = len(rows)
        shift = rows.mean(0) - self.mean.to(rows.device)
        between = shift**2 * (self.n * new / (self.n + new))
        self._square = self._square.to(rows.device) + rows.var(0, correction=0) * new + between
        self.mean = self.mean.to(rows.device) + shift * (new / (self.n + new))
        self.n += new

    @property
    def variance(self) -> Tensor:
        """(d,), over all rows: divided by n."""
        return self._square / self.n
