"""Distances between the kernel means of two samples: the unbiased maximum mean discrepancy, squared."""

from collections.abc import Callable
from math import sqrt

import torch
from torch import Tensor

from gentool.metrics.evaluation import Evaluation, Result, Several
from gentool.metrics.features import FeatureName, embedded

Kernel = Callable[[Tensor, Tensor], Tensor]
"""Maps (n, d) and (m, d) to (n, m)."""

AT_ONCE = 1000
"""Rows of a kernel's matrix computed at once: bounds the memory."""


def cubic(a: Tensor, b: Tensor) -> Tensor:
    """Return (n, m), the kernel (a·b / d + 1)³ of the kernel inception distance."""
    return (a @ b.T / a.shape[1] + 1) ** 3


def gaussian(bandwidth: float) -> Kernel:
    """Return the kernel exp(-|a - b|² / (2 bandwidth²))."""

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return torch.exp(torch.cdist(a, b).square() / (-2 * bandwidth**2))

    return kernel


def median_distance(x: Tensor) -> float:
    """Return the median distance between the first thousand examples of (n, d)."""
    return float(torch.pdist(x[:AT_ONCE]).median())


def _row_sums(kernel: Kernel, a: Tensor, b: Tensor) -> Tensor:
    return torch.cat([kernel(part, b).sum(1) for part in torch.split(a, AT_ONCE)])


def _diagonal(kernel: Kernel, x: Tensor) -> Tensor:
    return torch.cat([kernel(part, part).diagonal() for part in torch.split(x, AT_ONCE)])


def squared_discrepancy(a: Tensor, b: Tensor, kernel: Kernel) -> tuple[float, float]:
    """Return the unbiased MMD² = mean_{i≠j} k(a_i, a_j) + mean_{i≠j} k(b_i, b_j) - 2 mean k(a_i, b_j), and its error.

    It may be negative: two samples of one distribution give zero on average. The error is of first order: the root of
    4 var_i(h_i) / n summed over both, h_i = mean_j k(a_i, a_j) - mean_j k(a_i, b_j).

    Args:
        a: (n, d) float64, n at least 2.
        b: (m, d) float64, m at least 2.
        kernel: of pairs.

    Returns:
        MMD² and standard error.

    Reference: A Kernel Two-Sample Test, Arthur Gretton, Karsten Borgwardt, Malte Rasch, Bernhard Schölkopf and
        Alexander Smola, 2012, https://jmlr.org/papers/v13/gretton12a.html
    """
    within_a = (_row_sums(kernel, a, a) - _diagonal(kernel, a)) / (len(a) - 1)
    within_b = (_row_sums(kernel, b, b) - _diagonal(kernel, b)) / (len(b) - 1)
    from_a, from_b = _row_sums(kernel, a, b) / len(b), _row_sums(kernel, b, a) / len(a)
    value = within_a.mean() + within_b.mean() - 2 * from_a.mean()
    variance = 4 * ((within_a - from_a).var() / len(a) + (within_b - from_b).var() / len(b))
    return float(value), sqrt(float(variance))


class KernelDistance:
    """The kernel inception distance, in a choice of features: unbiased MMD² with the kernel (a·b / d + 1)³.

    All samples and examples are used at once, where the published code averages over subsets.

    Args:
        features: auto, digits, images, pixels or inception.
        num_samples: samples it is of; its mean does not depend on them.

    Reference: Demystifying MMD GANs, Mikołaj Bińkowski, Dougal Sutherland, Michael Arbel and Arthur Gretton, 2018,
        https://arxiv.org/abs/1801.01401
    """

    def __init__(self, *, features: FeatureName, num_samples: Several) -> None:
        self.features, self.num_samples = features, num_samples

    def __call__(self, evaluation: Evaluation) -> Result:
        """Measure; see `Metric`."""
        samples, examples, name = embedded(evaluation, self.features, self.num_samples)
        protocol = {"features": name, "num_samples": len(samples)}
        return Result(*squared_discrepancy(samples, examples, cubic), protocol)


class Discrepancy:
    """MMD² of the data itself, with a Gaussian kernel as wide as the median distance between examples.

    Args:
        num_samples: samples, and examples at most.

    Reference: A Kernel Two-Sample Test, Arthur Gretton, Karsten Borgwardt, Malte Rasch, Bernhard Schölkopf and
        Alexander Smola, 2012, https://jmlr.org/papers/v13/gretton12a.html
    """

    def __init__(self, *, num_samples: Several) -> None:
        self.num_samples = num_samples

    def __call__(self, evaluation: Evaluation) -> Result:
        """Measure; see `Metric`."""
        samples, examples, name = embedded(evaluation, "pixels", self.num_samples, self.num_samples)
        bandwidth = median_distance(examples)
        protocol = {"features": name, "num_samples": len(samples), "bandwidth": round(bandwidth, 6)}
        return Result(*squared_discrepancy(samples, examples, gaussian(bandwidth)), protocol)
