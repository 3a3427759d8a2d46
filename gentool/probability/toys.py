"""The densities of the toy sets, by name: what the data are drawn from, and what `known` samples."""

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor

from gentool.errors import UsageError
from gentool.probability.densities import Arcs, Checkerboard, GaussianMixture


def ring(*, modes: PositiveInt, radius: PositiveFloat, sigma: PositiveFloat) -> GaussianMixture:
    """Equal Gaussians evenly on a circle, the first at angle 0.

    Args:
        modes: number of Gaussians.
        radius: of the circle.
        sigma: standard deviation of each Gaussian.

    Returns:
        The density.
    """
    angle = 2 * torch.pi * torch.arange(modes, dtype=torch.float64) / modes
    return _even(radius * torch.stack([angle.cos(), angle.sin()], dim=1), sigma)


def grid(*, side: PositiveInt, spacing: PositiveFloat, sigma: PositiveFloat) -> GaussianMixture:
    """Equal Gaussians on a square grid centred on the origin, row by row.

    Args:
        side: Gaussians along one side.
        spacing: between neighbours.
        sigma: standard deviation of each Gaussian.

    Returns:
        The density.
    """
    axis = spacing * (torch.arange(side, dtype=torch.float64) - (side - 1) / 2)
    return _even(torch.cartesian_prod(axis, axis).reshape(-1, 2), sigma)


def moons(*, noise: Annotated[float, Field(ge=0.01, le=10)]) -> Arcs:
    """Two interleaving half circles with Gaussian noise.

    Args:
        noise: standard deviation of the noise; the arcs have radius 1.

    Returns:
        The density.
    """
    return Arcs(noise)


def checkerboard(*, squares: PositiveInt, side: PositiveFloat) -> Checkerboard:
    """Every other square of a board centred on the origin, uniformly.

    Args:
        squares: along one side of the board, even.
        side: of one square.

    Returns:
        The density.

    Raises:
        UsageError: the number of squares is odd.
    """
    if squares % 2:
        raise UsageError(f"squares={squares}: expected an even number")
    return Checkerboard(squares, side)


def two_gaussians(*, dims: Literal[1, 2], distance: NonNegativeFloat, sigma: PositiveFloat) -> GaussianMixture:
    """Two equal Gaussians on the first axis, the origin halfway between.

    Args:
        dims: 1 for numbers, 2 for points of the plane.
        distance: between the two means.
        sigma: standard deviation of each Gaussian.

    Returns:
        The density.
    """
    means = torch.zeros(2, dims)
    means[:, 0] = torch.tensor([-distance / 2, distance / 2])
    return _even(means, sigma)


def mixture(
    *, weights: Sequence[PositiveFloat], means: Sequence[Sequence[float]], sigmas: Sequence[PositiveFloat]
) -> GaussianMixture:
    """A mixture of isotropic Gaussians.

    Args:
        weights: of the components; scaled to sum to 1.
        means: of the components, one or two numbers each.
        sigmas: standard deviations of the components.

    Returns:
        The density.

    Raises:
        UsageError: the lists do not belong together.
    """
    if not len(weights) == len(means) == len(sigmas) > 0:
        raise UsageError(
            f"weights, means and sigmas have lengths {len(weights)}, {len(means)} and {len(sigmas)}; "
            "expected the same length, at least 1"
        )
    if {len(mean) for mean in means} not in ({1}, {2}):
        raise UsageError(f"means={means}: expected one number each, or two numbers each")
    return GaussianMixture(*(torch.tensor(values, dtype=torch.float64) for values in (weights, means, sigmas)))


def _even(means: Tensor, sigma: float) -> GaussianMixture:
    return GaussianMixture(torch.ones(len(means)), means, torch.full((len(means),), sigma, dtype=torch.float64))
