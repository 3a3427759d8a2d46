"""A learned Gaussian in the place of N(0, 1), as the last transform before it."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gentool.probability.transforms.base import Transform


class LearnedPrior(Transform):
    """z = (x - mu) exp(-log_sigma): x is N(mu, sigma²) where z is N(0, 1); mu and sigma by label, if there are any.

    Args:
        shape: of one x.
        classes: of the labels; 0 for none.
    """

    def __init__(self, shape: Sequence[int], classes: int) -> None:
        super().__init__()
        self.classes = classes
        self.mu = nn.Parameter(torch.zeros(max(1, classes), *shape))
        self.log_sigma = nn.Parameter(torch.zeros(max(1, classes), *shape))

    def forward_and_log_det(self, x: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Standardise."""
        mu, log_sigma = self._of(y)
        return (x - mu) * (-log_sigma).exp(), -log_sigma.flatten(1).sum(1)

    def inverse_and_log_det(self, z: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Scale and shift."""
        mu, log_sigma = self._of(y)
        return torch.addcmul(mu, z, log_sigma.exp()), log_sigma.flatten(1).sum(1)

    def _of(self, y: Tensor | None) -> tuple[Tensor, Tensor]:
        if not self.classes:
            return self.mu, self.log_sigma
        assert y is not None, "a prior with classes needs labels"
        return self.mu[y], self.log_sigma[y]
