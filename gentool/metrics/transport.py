"""Wasserstein distances between samples and examples: exact by assignment, sliced by sorting projections."""

import torch
from pydantic import PositiveInt
from torch import Tensor

from gentool.metrics.bootstrap import parts_error
from gentool.metrics.evaluation import Evaluation, Result, Several
from gentool.metrics.features import embedded
from gentool.training.rng import derive


def wasserstein_1(a: Tensor, b: Tensor) -> float:
    """Return W_1 = min over assignments of the mean Euclidean distance, of two equally large sets.

    Args:
        a: (n, d) float64.
        b: (n, d) float64.

    Returns:
        The exact distance of the two sets; the cost of finding it grows with n³.
    """
    from scipy.optimize import linear_sum_assignment  # type: ignore[import-untyped]

    cost = torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist").numpy()
    rows, columns = linear_sum_assignment(cost)
    return float(cost[rows, columns].mean())


def sliced_wasserstein_2(a: Tensor, b: Tensor, directions: Tensor) -> float:
    """Return the root of the mean over directions of W_2² of the projections, of two equally large sets.

    Args:
        a: (n, d) float64.
        b: (n, d) float64.
        directions: (d, projections), columns of length 1.

    Returns:
        The distance.

    Reference: Sliced and Radon Wasserstein Barycenters of Measures, Nicolas Bonneel, Julien Rabin, Gabriel Peyré and
        Hanspeter Pfister, 2015, https://doi.org/10.1007/s10851-014-0506-3
    """
    total = torch.zeros((), dtype=a.dtype)
    for some in torch.split(directions, 100, dim=1):
        total += ((a @ some).sort(0).values - (b @ some).sort(0).values).square().mean(0).sum()
    return float((total / directions.shape[1]).sqrt())


def directions(dims: int, count: int, seed: int) -> Tensor:
    """Return (dims, count) float64, directions drawn uniformly."""
    generator = torch.Generator().manual_seed(derive(seed, 6))
    drawn = torch.randn(dims, count, dtype=torch.float64, generator=generator)
    unit: Tensor = drawn / drawn.norm(dim=0)
    return unit


def _equally_many(evaluation: Evaluation, num_samples: int) -> tuple[Tensor, Tensor, str]:
    """Return as many samples as examples, of the data itself, scaled to [0, 1] where it has levels."""
    samples, examples, name = embedded(evaluation, "pixels", num_samples, num_samples)
    count = min(len(samples), len(examples))
    return samples[:count], examples[:count], name


class Wasserstein:
    """The exact 1-Wasserstein distance between samples and as many examples, of the data itself.

    It solves the assignment by SciPy. Two samples of one distribution are apart too, the more the higher the dimension.

    Args:
        num_samples: samples, and examples, at most.
    """

    def __init__(self, *, num_samples: Several) -> None:
        self.num_samples = num_samples

    def __call__(self, evaluation: Evaluation) -> Result:
        """Measure; see `Metric`."""
        samples, examples, name = _equally_many(evaluation, self.num_samples)
        error = parts_error(wasserstein_1, samples, examples)
        return Result(wasserstein_1(samples, examples), error, {"features": name, "num_samples": len(samples)})


class SlicedWasserstein:
    """The sliced 2-Wasserstein distance between samples and as many examples, of the data itself.

    Args:
        projections: random directions it averages over.
        num_samples: samples, and examples, at most.
    """

    def __init__(self, *, projections: PositiveInt, num_samples: Several) -> None:
        self.projections, self.num_samples = projections, num_samples

    def __call__(self, evaluation: Evaluation) -> Result:
        """Measure; see `Metric`."""
        samples, examples, name = _equally_many(evaluation, self.num_samples)
        lines = directions(samples.shape[1], self.projections, evaluation.seed)

        def distance(a: Tensor, b: Tensor) -> float:
            return sliced_wasserstein_2(a, b, lines)

        protocol = {"features": name, "num_samples": len(samples), "projections": self.projections}
        return Result(distance(samples, examples), parts_error(distance, samples, examples), protocol)
