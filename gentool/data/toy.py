"""Points drawn from densities that are known, so that a model's likelihood can be held against the truth."""

from dataclasses import replace
from typing import Annotated, Literal

import torch
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from gentool.data.dataset import Dataset, Rows, Share, Table, point_dataset
from gentool.data.facts import point_space
from gentool.probability import toys
from gentool.probability.densities import KnownDensity

# Ten heights in metres, from memory of the example the lecture uses; the deck itself is not at hand to compare.
# They give exactly what it prints, mean 1.683 and maximum-likelihood variance 0.002921: tests/data/test_toy.py.
HEIGHTS = (1.60, 1.70, 1.65, 1.63, 1.75, 1.71, 1.68, 1.72, 1.77, 1.62)


def ring(
    *,
    modes: PositiveInt,
    radius: PositiveFloat,
    sigma: PositiveFloat,
    examples: PositiveInt,
    validation: Share,
    test: Share,
    seed: NonNegativeInt,
) -> Dataset:
    """Draw from Gaussians evenly on a circle, the first at angle 0; labels are the Gaussians.

    Args:
        modes: number of Gaussians.
        radius: of the circle.
        sigma: standard deviation of each Gaussian.
        examples: points drawn, over all splits.
        validation: share of them held out for validation.
        test: share of them held out for the test.
        seed: of the draw and the split.

    Returns:
        The dataset, with its density.
    """
    density = toys.ring(modes=modes, radius=radius, sigma=sigma)
    return _drawn(density, modes, examples, validation, test, seed)


def grid(
    *,
    side: PositiveInt,
    spacing: PositiveFloat,
    sigma: PositiveFloat,
    examples: PositiveInt,
    validation: Share,
    test: Share,
    seed: NonNegativeInt,
) -> Dataset:
    """Draw from Gaussians on a square grid centred on the origin; labels are the Gaussians, row by row.

    Args:
        side: Gaussians along one side.
        spacing: between neighbours.
        sigma: standard deviation of each Gaussian.
        examples: points drawn, over all splits.
        validation: share of them held out for validation.
        test: share of them held out for the test.
        seed: of the draw and the split.

    Returns:
        The dataset, with its density.
    """
    density = toys.grid(side=side, spacing=spacing, sigma=sigma)
    return _drawn(density, side**2, examples, validation, test, seed)


def moons(
    *,
    noise: Annotated[float, Field(ge=0.01, le=10)],
    examples: PositiveInt,
    validation: Share,
    test: Share,
    seed: NonNegativeInt,
) -> Dataset:
    """Draw two interleaving half circles with Gaussian noise; labels are the arcs.

    Args:
        noise: standard deviation of the noise.
        examples: points drawn, over all splits.
        validation: share of them held out for validation.
        test: share of them held out for the test.
        seed: of the draw and the split.

    Returns:
        The dataset, with its density.
    """
    return _drawn(toys.moons(noise=noise), 2, examples, validation, test, seed)


def checkerboard(
    *,
    squares: PositiveInt,
    side: PositiveFloat,
    examples: PositiveInt,
    validation: Share,
    test: Share,
    seed: NonNegativeInt,
) -> Dataset:
    """Draw uniformly from every other square of a board; labels are the squares.

    Args:
        squares: along one side of the board, even.
        side: of one square.
        examples: points drawn, over all splits.
        validation: share of them held out for validation.
        test: share of them held out for the test.
        seed: of the draw and the split.

    Returns:
        The dataset, with its density.
    """
    density = toys.checkerboard(squares=squares, side=side)
    return _drawn(density, squares**2 // 2, examples, validation, test, seed)


def two_gaussians(
    *,
    dims: Literal[1, 2],
    distance: NonNegativeFloat,
    sigma: PositiveFloat,
    examples: PositiveInt,
    validation: Share,
    test: Share,
    seed: NonNegativeInt,
) -> Dataset:
    """Draw from two equal Gaussians on the first axis, the origin halfway between; labels are the Gaussians.

    Args:
        dims: 1 for numbers, 2 for points of the plane.
        distance: between the two means.
        sigma: standard deviation of each Gaussian.
        examples: points drawn, over all splits.
        validation: share of them held out for validation.
        test: share of them held out for the test.
        seed: of the draw and the split.

    Returns:
        The dataset, with its density.
    """
    density = toys.two_gaussians(dims=dims, distance=distance, sigma=sigma)
    return _drawn(density, 2, examples, validation, test, seed)


def mixture(
    *,
    weights: list[PositiveFloat],
    means: list[list[float]],
    sigmas: list[PositiveFloat],
    examples: PositiveInt,
    validation: Share,
    test: Share,
    seed: NonNegativeInt,
) -> Dataset:
    """Draw from a mixture of isotropic Gaussians; labels are its components.

    Args:
        weights: of the components; scaled to sum to 1.
        means: of the components, one or two numbers each.
        sigmas: standard deviations of the components.
        examples: points drawn, over all splits.
        validation: share of them held out for validation.
        test: share of them held out for the test.
        seed: of the draw and the split.

    Returns:
        The dataset, with its density.
    """
    density = toys.mixture(weights=weights, means=means, sigmas=sigmas)
    return _drawn(density, len(weights), examples, validation, test, seed)


def heights() -> Dataset:
    """Return ten heights in metres, all ten in every split: the smallest example of maximum likelihood.

    Returns:
        The dataset. Its density is the Gaussian of maximum likelihood, N(1.683, 0.002921): what the lecture fits,
        not what the heights were drawn from; its entropy is the mean negative log-likelihood of the ten.
    """
    table = Table(torch.tensor(HEIGHTS)[:, None], None)
    rows = Rows(table.x, None)
    exact = torch.tensor(HEIGHTS, dtype=torch.float64)
    density = toys.mixture(weights=[1.0], means=[[float(exact.mean())]], sigmas=[float(exact.std(correction=0))])
    return Dataset(point_space(table.x, None, 0), rows, rows, rows, density)


def _drawn(density: KnownDensity, parts: int, examples: int, validation: float, test: float, seed: int) -> Dataset:
    table = Table(*density.draw(examples, torch.Generator().manual_seed(seed)))
    return replace(point_dataset(table, parts, validation=validation, test_share=test, seed=seed), density=density)
