"""What every likelihood of a decoder or a head answers: log_prob, sample, mean."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from gentool.space import DataSpace


class Likelihood(nn.Module, ABC):
    """A distribution over x given a network's outputs, independent over dimensions.

    Outputs may carry more batch axes than x: everything broadcasts from the right.

    Args:
        space: the data's facts.

    Attributes:
        outputs_per_dim: numbers it needs of the network for each dimension of x.
    """

    outputs_per_dim: int = 1

    def __init__(self, space: DataSpace) -> None:
        super().__init__()
        self.space = space
        self._axis = -1 - len(space.shape)

    def start(self) -> Tensor:
        """Return what a network's outputs best start from, knowing only the mean of the data.

        Returns:
            (outputs_per_dim, *space.shape).
        """
        return torch.zeros(self.outputs_per_dim, *self.space.shape)

    @abstractmethod
    def log_prob(self, x: Tensor, outputs: Tensor) -> Tensor:
        """Return log p(x | outputs) summed over dimensions: of integer levels a probability, of reals a density.

        Args:
            x: (…, *space.shape), in data space.
            outputs: (…, outputs_per_dim, *space.shape), fp32.

        Returns:
            (…,) nats.
        """

    @abstractmethod
    def sample(self, outputs: Tensor) -> Tensor:
        """Draw x.

        Args:
            outputs: (…, outputs_per_dim, *space.shape), fp32.

        Returns:
            (…, *space.shape), in data space and its dtype.
        """

    @abstractmethod
    def mean(self, outputs: Tensor) -> Tensor:
        """Return the mean of x.

        Args:
            outputs: (…, outputs_per_dim, *space.shape), fp32.

        Returns:
            (…, *space.shape) float, in data space.
        """

    def _output(self, outputs: Tensor, i: int = 0) -> Tensor:
        return outputs.select(self._axis, i)

    def _sum(self, per_dim: Tensor) -> Tensor:
        return per_dim.flatten(self._axis + 1).sum(-1)
