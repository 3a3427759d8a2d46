"""The Fréchet distance between the Gaussians that fit two sets of features."""

from math import sqrt
from typing import NamedTuple

import torch
from torch import Tensor

from gentool.metrics.evaluation import Evaluation, Result, Several
from gentool.metrics.features import MOST_DIMS, FeatureName, embedded

SINGULAR = 1e-10
"""Variances below this share of the largest are taken for zero."""

AT_ONCE = 1000
"""Examples whose influence is computed at once: bounds the memory."""

ROUNDING = 1e-14
"""Products of two variances below this share of the largest are rounding, whose root would not be small."""


class Distance(NamedTuple):
    """A Fréchet distance.

    Attributes:
        value: squared, as it is printed everywhere.
        standard_error: of `value`, to first order.
    """

    value: float
    standard_error: float


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean (d,) and the covariance (d, d), divided by n - 1, of x (n, d)."""
    mean = x.mean(0)
    centred = x - mean
    return mean, centred.T @ centred / (len(x) - 1)


def frechet_distance(mean_a: Tensor, cov_a: Tensor, mean_b: Tensor, cov_b: Tensor) -> float:
    """Return |m_a - m_b|² + tr(C_a + C_b - 2 (C_a^½ C_b C_a^½)^½), the squared 2-Wasserstein distance of two Gaussians.

    The root is of a symmetric matrix, by its eigenvalues, so it exists for singular covariances too.

    Args:
        mean_a: (d,) float64.
        cov_a: (d, d) float64.
        mean_b: (d,) float64.
        cov_b: (d, d) float64.

    Returns:
        The distance, 0 or more but for rounding.

    Reference: GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium, Martin Heusel,
        Hubert Ramsauer, Thomas Unterthiner, Bernhard Nessler and Sepp Hochreiter, 2017,
        https://arxiv.org/abs/1706.08500
    """
    root = _power(cov_a, 0.5)
    squares = torch.linalg.eigvalsh(root @ cov_b @ root)
    cross = squares[squares > ROUNDING * squares.max()].sqrt().sum()
    return float((mean_a - mean_b).square().sum() + cov_a.trace() + cov_b.trace() - 2 * cross)


def frechet_between(a: Tensor, b: Tensor) -> Distance:
    """Return the Fréchet distance of two sets of features, and its error by the infinitesimal jackknife.

    An example x of a moves the distance by its influence 2 (m_a - m_b)·u + u·(I - T) u, u = x - m_a, where T is the
    linear map that carries N(0, C_a) to N(0, C_b); the error is the root of var(influence) / n, summed over both sets.
    It tells the noise of the sets, not their bias: few examples make the distance too large.

    Args:
        a: (n, d) float64.
        b: (m, d) float64.

    Returns:
        Distance and standard error.
    """
    (mean_a, cov_a), (mean_b, cov_b) = moments(a), moments(b)
    variance = 0.0
    for x, mean, cov, other, spread in ((a, mean_a, cov_a, mean_b, cov_b), (b, mean_b, cov_b, mean_a, cov_a)):
        root, back = _power(cov, 0.5), _power(cov, -0.5)
        transport = back @ _power(root @ spread @ root, 0.5) @ back
        parts = (part - mean for part in torch.split(x, AT_ONCE))
        influence = torch.cat([2 * u @ (mean - other) + (u * (u - u @ transport)).sum(1) for u in parts])
        variance += float(influence.var()) / len(x)
    return Distance(frechet_distance(mean_a, cov_a, mean_b, cov_b), sqrt(variance))


def _power(matrix: Tensor, exponent: float) -> Tensor:
    """Return a power of a symmetric matrix >= 0; of eigenvalues that are zero but for rounding, zero."""
    values, vectors = torch.linalg.eigh(matrix)
    kept = values > SINGULAR * values.max().clamp(min=0)
    powers = torch.where(kept, values.clamp(min=1e-300) ** exponent, 0.0)
    power: Tensor = (vectors * powers) @ vectors.T
    return power


class Frechet:
    """The Fréchet distance between samples and examples, in a choice of features.

    Args:
        features: auto, digits, images, pixels or inception; pixels of at most 4,096 dimensions.
        num_samples: samples it is of. Fewer make it larger: values of different numbers are never compared.
    """

    most_dims = MOST_DIMS

    def __init__(self, *, features: FeatureName, num_samples: Several) -> None:
        self.features, self.num_samples = features, num_samples

    def __call__(self, evaluation: Evaluation) -> Result:
        """Measure; see `Metric`."""
        samples, examples, name = embedded(evaluation, self.features, self.num_samples, most_dims=self.most_dims)
        protocol = {"features": name, "num_samples": len(samples)}
        return Result(*frechet_between(samples, examples), protocol)
