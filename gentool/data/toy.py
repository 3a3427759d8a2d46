"""Points drawn from densities that are known, so that a model's likelihood can be held against the truth."""

from collections.abc import Sequence
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
    modes: PositiveInt = 8,
    radius: PositiveFloat = 1.0,
    sigma: PositiveFloat = 0.01,
    examples: PositiveInt = 100000,
    validation: Share = 0.1,
    test: Share = 0.2,
    seed: NonNegativeInt = 0,
) -> Dataset:
    """Draw from Gaussians evenly on a circle, the first at angle 0; labels are the Gaussians.

    Args:
        modes: Gaussians, 1 or more.
        radius: of the circle, > 0.
        sigma: standard deviation of each Gaussian, > 0.
        examples: points drawn, over all splits, 3 or more.
        validation: fraction of the examples held out to choose the best checkpoint; 0 = none.
        test: fraction of the examples held out for the test; 0 = none.
        seed: of the draw and the split.

    Returns:
        The dataset, with its density.
    """
    density = toys.ring(modes=modes, radius=radius, sigma=sigma)
    return _drawn(density, modes, examples, validation, test, seed)


def grid(
    *,
    side: PositiveInt = 5,
    spacing: PositiveFloat = 2.0,
    sigma: PositiveFloat = 0.05,
    examples: PositiveInt = 100000,
    validation: Share = 0.1,
    test: Share = 0.2,
    seed: NonNegativeInt = 0,
) -> Dataset:
    """Draw from Gaussians on a square grid centred on the origin; labels are the Gaussians, row by row.

    Args:
        side: Gaussians along one side, 1 or more.
        spacing: between neighbours, > 0: they stand at -4, -2, 0, 2, 4.
        sigma: standard deviation of each Gaussian, > 0.
        examples: points drawn, over all splits, 3 or more.
        validation: fraction of the examples held out to choose the best checkpoint; 0 = none.
        test: fraction of the examples held out for the test; 0 = none.
        seed: of the draw and the split.

    Returns:
        The dataset, with its density.
    """
    density = toys.grid(side=side, spacing=spacing, sigma=sigma)
    return _drawn(density, side**2, examples, validation, test, seed)


def moons(
    *,
    noise: Annotated[float, Field(ge=0.01, le=10)] = 0.1,
    examples: PositiveInt = 100000,
    validation: Share = 0.1,
    test: Share = 0.2,
    seed: NonNegativeInt = 0,
) -> Dataset:
    """Draw two interleaving half circles with Gaussian noise; labels are the arcs.

    Args:
        noise: standard deviation of the noise, 0.01 to 10; the arcs have radius 1.
        examples: points drawn, over all splits, 3 or more.
        validation: fraction of the examples held out to choose the best checkpoint; 0 = none.
        test: fraction of the examples held out for the test; 0 = none.
        seed: of the draw and the split.

    Returns:
        The dataset, with its density.
    """
    return _drawn(toys.moons(noise=noise), 2, examples, validation, test, seed)


def checkerboard(
    *,
    squares: PositiveInt = 4,
    side: PositiveFloat = 2.0,
    examples: PositiveInt = 100000,
    validation: Share = 0.1,
    test: Share = 0.2,
    seed: NonNegativeInt = 0,
) -> Dataset:
    """Draw uniformly from every other square of a board; labels are the squares.

    Args:
        squares: along one side of the board, even.
        side: of one square, > 0: the board spans [-4, 4].
        examples: points drawn, over all splits, 3 or more.
        validation: fraction of the examples held out to choose the best checkpoint; 0 = none.
        test: fraction of the examples held out for the test; 0 = none.
        seed: of the draw and the split.

    Returns:
        The dataset, with its density.
    """
    density = toys.checkerboard(squares=squares, side=side)
    return _drawn(density, squares**2 // 2, examples, validation, test, seed)


def two_gaussians(
    *,
    dims: Literal[1, 2] = 1,
    distance: NonNegativeFloat = 4.0,
    sigma: PositiveFloat = 0.5,
    examples: PositiveInt = 100000,
    validation: Share = 0.1,
    test: Share = 0.2,
    seed: NonNegativeInt = 0,
) -> Dataset:
    """Draw from two equal Gaussians on the first axis, the origin halfway between; labels are the Gaussians.

    Args:
        dims: 1 for numbers, 2 for points of the plane.
        distance: between the two means, 0 or more.
        sigma: standard deviation of each Gaussian, > 0.
        examples: points drawn, over all splits, 3 or more.
        validation: fraction of the examples held out to choose the best checkpoint; 0 = none.
        test: fraction of the examples held out for the test; 0 = none.
        seed: of the draw and the split.

    Returns:
        The dataset, with its density.
    """
    density = toys.two_gaussians(dims=dims, distance=distance, sigma=sigma)
    return _drawn(density, 2, examples, validation, test, seed)


def mixture(
    *,
    weights: Sequence[PositiveFloat] = (0.6, 0.3, 0.1),
    means: Sequence[Sequence[float]] = ((-1.0, -0.5), (1.5, 1.0), (1.0, -1.5)),
    sigmas: Sequence[PositiveFloat] = (0.5, 0.35, 0.2),
    examples: PositiveInt = 100000,
    validation: Share = 0.1,
    test: Share = 0.2,
    seed: NonNegativeInt = 0,
) -> Dataset:
    """Draw from a mixture of isotropic Gaussians; labels are its components.

    Args:
        weights: of the components, > 0; scaled to sum to 1.
        means: of the components, one or two numbers each.
        sigmas: standard deviations of the components, > 0.
        examples: points drawn, over all splits, 3 or more.
        validation: fraction of the examples held out to choose the best checkpoint; 0 = none.
        test: fraction of the examples held out for the test; 0 = none.
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
