"""What an energy is without its network: a density that chains begin from."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from gentool.errors import UsageError
from gentool.space import DataSpace


class Cube(nn.Module):
    """All of [-1, 1]^d alike; its walls are mirrors.

    Args:
        shape: of one x.
    """

    walls = True

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.shape = tuple(shape)

    def forward(self, x: Tensor) -> Tensor:
        """Return zeros (batch,)."""
        return torch.zeros(len(x), device=x.device)

    def draw(self, n: int) -> Tensor:
        """Draw (n, *shape) from it."""
        return 2 * torch.rand(n, *self.shape) - 1


class Ball(nn.Module):
    """The Gaussian N(0, deviation²) of every dimension, E(x) = |x|² / (2 deviation²).

    Args:
        shape: of one x.
        deviation: of every dimension, > 0.
    """

    walls = False

    def __init__(self, shape: Sequence[int], deviation: float) -> None:
        super().__init__()
        self.shape, self.deviation = tuple(shape), deviation

    def forward(self, x: Tensor) -> Tensor:
        """Return the energy (batch,) of x (batch, *shape)."""
        return x.square().flatten(1).sum(1) / (2 * self.deviation**2)

    def draw(self, n: int) -> Tensor:
        """Draw (n, *shape) from it."""
        return self.deviation * torch.randn(n, *self.shape)


class Fitted(nn.Module):
    """A Gaussian fitted to data: its first principal components, and one variance in every direction across them.

    E(x) = |x - m|² / (2 v) - sum_k (1 / v - 1 / v_k) (u_k (x - m))² / 2, which is N(m, v I + sum_k (v_k - v) u_k u_k').
    Before `fit` it is N(0, I).

    Args:
        shape: of one x.
        components: k, principal components, fewer than dimensions.

    Raises:
        UsageError: where there are not so many.

    Reference: Probabilistic Principal Component Analysis, Michael Tipping and Christopher Bishop, 1999,
        https://doi.org/10.1111/1467-9868.00196
    """

    walls = False
    mean: Tensor
    axes: Tensor
    across: Tensor
    along: Tensor

    def __init__(self, shape: Sequence[int], components: int) -> None:
        super().__init__()
        self.shape = torch.Size(shape)
        dims = self.shape.numel()
        if components >= dims:
            raise UsageError(f"model.principal_components={components}: x has {dims} dimensions, and fewer are wanted")
        self.register_buffer("mean", torch.zeros(dims))
        self.register_buffer("axes", torch.eye(dims)[:, :components].contiguous())
        self.register_buffer("across", torch.ones(()))
        self.register_buffer("along", torch.ones(components))

    @torch.no_grad()
    def fit(self, batches: Iterable[Tensor], noise: float) -> None:
        """Take mean and covariance of data with noise: maximum likelihood.

        Args:
            batches: each (batch, *shape).
            noise: deviation of the noise, which is added to every variance.
        """
        count, total = 0, torch.zeros(len(self.mean)).double()
        square = total.outer(total)
        for x in batches:
            rows = x.flatten(1)
            count, total = count + len(rows), total + rows.sum(0).cpu()
            square += (rows.T @ rows).cpu()
        mean = total / count
        variances, axes = torch.linalg.eigh(square / count - mean.outer(mean))
        k = len(self.along)
        variances, axes = variances.flip(0) + noise**2, axes.flip(1)
        variances = variances.clamp(min=1e-6)  # without noise, pixels that are always black have none
        self.mean.copy_(mean)
        self.axes.copy_(axes[:, :k])
        self.along.copy_(variances[:k])
        self.across.copy_(variances[k:].mean())

    def forward(self, x: Tensor) -> Tensor:
        """Return the energy (batch,) of x (batch, *shape)."""
        off = x.flatten(1) - self.mean
        within = ((off @ self.axes).square() * (1 / self.across - 1 / self.along)).sum(1)
        return (off.square().sum(1) / self.across - within) / 2

    def draw(self, n: int) -> Tensor:
        """Draw (n, *shape) from it."""
        eps = torch.randn(n, len(self.mean)).to(self.mean.device)
        seen = eps @ self.axes
        off = self.across.sqrt() * eps + (seen * (self.along.sqrt() - self.across.sqrt())) @ self.axes.T
        return (self.mean + off).reshape(n, *self.shape)


def ground(space: DataSpace, deviation: float, components: int | None) -> Cube | Ball | Fitted:
    """Choose what a network's energy is added to.

    Args:
        space: the data's facts.
        deviation: of a Gaussian of points, in model space.
        components: of a Gaussian that is fitted instead; None: none is.

    Returns:
        Fitted where components are given, else a Ball of points and the Cube of levels.
    """
    if components is not None:
        return Fitted(space.shape, components)
    return Ball(space.shape, deviation) if space.levels is None else Cube(space.shape)
