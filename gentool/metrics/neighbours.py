"""Precision, recall, density and coverage: overlap of two sets, by balls that reach to each point's k-th neighbour."""

from typing import Literal, NamedTuple

import torch
from pydantic import PositiveInt
from torch import Tensor

from gentool.errors import Unavailable
from gentool.metrics.evaluation import Evaluation, Result, Several
from gentool.metrics.features import FeatureName, embedded
from gentool.metrics.likelihood import mean_and_error

AT_ONCE = 500
"""Rows of distances computed at once: bounds the memory."""

FEW = 64
"""Dimensions up to which distances come from differences. A matrix product is faster beyond, but rounds otherwise each
time, so that a point as far as a ball reaches may be found within it."""


class Overlap(NamedTuple):
    """What each point says of the overlap; the metrics are the means.

    Attributes:
        precision: (samples,) 1 where a sample lies in the ball of an example.
        recall: (examples,) 1 where an example lies in the ball of a sample.
        density: (samples,) examples in whose balls a sample lies, divided by k.
        coverage: (examples,) 1 where the ball of an example holds a sample.
    """

    precision: Tensor
    recall: Tensor
    density: Tensor
    coverage: Tensor


def _distances(a: Tensor, b: Tensor) -> Tensor:
    mode = "donot_use_mm_for_euclid_dist" if a.shape[1] <= FEW else "use_mm_for_euclid_dist"
    return torch.cdist(a, b, compute_mode=mode)


def radii(x: Tensor, k: int) -> Tensor:
    """Return (n,) the distance of each point of x (n, d) to its k-th nearest other point; n must be above k."""
    return torch.cat([_distances(part, x).kthvalue(k + 1, dim=1).values for part in torch.split(x, AT_ONCE)])


def overlap(samples: Tensor, examples: Tensor, k: int) -> Overlap:
    """Compare two sets by balls around each point, whose radius is the distance to its k-th nearest other point.

    Args:
        samples: (n, d) float64, n above k.
        examples: (m, d) float64, m above k.
        k: neighbours a ball holds.

    Returns:
        What each point says.

    Reference: Improved Precision and Recall Metric for Assessing Generative Models, Tuomas Kynkäänniemi, Tero Karras,
        Samuli Laine, Jaakko Lehtinen and Timo Aila, 2019, https://arxiv.org/abs/1904.06991; Reliable Fidelity and
        Diversity Metrics for Generative Models, Muhammad Ferjad Naeem, Seong Joon Oh, Youngjung Uh, Yunjey Choi and
        Jaejun Yoo, 2020, https://arxiv.org/abs/2002.09797
    """
    of_samples, of_examples = radii(samples, k), radii(examples, k)
    inside, recalled, covered = [], torch.zeros(len(examples), dtype=torch.bool), torch.zeros(len(examples)).bool()
    for part, radius in zip(torch.split(samples, AT_ONCE), torch.split(of_samples, AT_ONCE), strict=True):
        distance = _distances(part, examples)
        held = distance < of_examples
        inside.append(held.sum(1).double())
        covered |= held.any(0)
        recalled |= (distance < radius[:, None]).any(0)
    counts = torch.cat(inside)
    return Overlap((counts > 0).double(), recalled.double(), counts / k, covered.double())


class Neighbours:
    """One of precision, recall, density and coverage; see `overlap`.

    Samples and examples are equally many, as in both papers: the larger set is cut to the size of the smaller.

    Args:
        quantity: which of them.
        k: neighbours a ball holds.
        features: auto, digits, images, pixels or inception.
        num_samples: samples, and examples, at most.
    """

    def __init__(
        self,
        *,
        quantity: Literal["precision", "recall", "density", "coverage"],
        k: PositiveInt,
        features: FeatureName,
        num_samples: Several,
    ) -> None:
        self.quantity, self.k, self.features, self.num_samples = quantity, k, features, num_samples

    def __call__(self, evaluation: Evaluation) -> Result:
        """Measure; see `Metric`."""
        samples, examples, name = embedded(evaluation, self.features, self.num_samples, self.num_samples)
        count = min(len(samples), len(examples))
        if count <= self.k:
            raise Unavailable(f"{count} samples have no {self.k} neighbours each; lower k or take more")
        key = ("overlap", name, self.k, count)
        if key not in evaluation.kept:
            evaluation.kept[key] = overlap(samples[:count], examples[:count], self.k)
        values: Tensor = getattr(evaluation.kept[key], self.quantity)
        return Result(*mean_and_error(values), {"features": name, "k": self.k, "num_samples": count})
