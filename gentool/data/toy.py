"""Points drawn from densities that are known, so that a model's likelihood can be held against the truth."""

from dataclasses import replace
from typing import Annotated, Literal

import torch
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from gentool.data.dataset import Dataset, Rows, Share, Table, point_dataset, point_space
from gentool.data.density import Arcs, Checkerboard, GaussianMixture, KnownDensity
from gentool.errors import UsageError

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
    angle = 2 * torch.pi * torch.arange(modes, dtype=torch.float64) / modes
    means = radius * torch.stack([angle.cos(), angle.sin()], dim=1)
    return _drawn(_even(means, sigma), modes, examples, validation, test, seed)


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
    axis = spacing * (torch.arange(side, dtype=torch.float64) - (side - 1) / 2)
    means = torch.cartesian_prod(axis, axis).reshape(-1, 2)
    return _drawn(_even(means, sigma), side**2, examples, validation, test, seed)


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
    return _drawn(Arcs(noise), 2, examples, validation, test, seed)


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

    Raises:
        UsageError: the number of squares is odd.
    """
    if squares % 2:
        raise UsageError(f"dataset.squares={squares}: expected an even number")
    return _drawn(Checkerboard(squares, side), squares**2 // 2, examples, validation, test, seed)


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
    means = torch.zeros(2, dims)
    means[:, 0] = torch.tensor([-distance / 2, distance / 2])
    return _drawn(_even(means, sigma), 2, examples, validation, test, seed)


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

    Raises:
        UsageError: the lists do not belong together.
    """
    if not len(weights) == len(means) == len(sigmas) > 0:
        raise UsageError(
            f"dataset.weights, means and sigmas have lengths {len(weights)}, {len(means)} and {len(sigmas)}; "
            "expected the same length, at least 1"
        )
    if {len(mean) for mean in means} not in ({1}, {2}):
        raise UsageError(f"dataset.means={means}: expected one number each, or two numbers each")
    density = GaussianMixture(torch.tensor(weights), torch.tensor(means), torch.tensor(sigmas))
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
    density = GaussianMixture(torch.ones(1), exact.mean().reshape(1, 1), exact.std(correction=0).reshape(1))
    return Dataset(point_space(table, 0), rows, rows, rows, density)


def _even(means: torch.Tensor, sigma: float) -> GaussianMixture:
    return GaussianMixture(torch.ones(len(means)), means, torch.full((len(means),), sigma, dtype=torch.float64))


def _drawn(density: KnownDensity, parts: int, examples: int, validation: float, test: float, seed: int) -> Dataset:
    table = Table(*density.draw(examples, torch.Generator().manual_seed(seed)))
    return replace(point_dataset(table, parts, validation=validation, test_share=test, seed=seed), density=density)
