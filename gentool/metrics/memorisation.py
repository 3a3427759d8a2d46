"""Whether samples copy training examples: their nearest neighbours there, beside those of held-out examples."""

from math import sqrt

import torch
from pydantic import PositiveFloat
from torch import Tensor

from gentool.errors import Unavailable
from gentool.metrics.evaluation import Evaluation, Result, Several
from gentool.metrics.features import examples, pixels
from gentool.metrics.likelihood import mean_and_error

AT_ONCE = 250
"""Queries at once: bounds the memory."""

FEW = 16
"""Dimensions up to which distances are found in float64: points lie close, and it costs little."""


def two_nearest(queries: Tensor, x: Tensor) -> Tensor:
    """Return the distances to the two nearest rows of x.

    The nearest are found by matrix products, which cancel; their distances are computed anew, from differences, so that
    the copy of a row has distance 0.

    Args:
        queries: (n, d).
        x: (m, d), m at least 2.

    Returns:
        (n, 2), the nearer first.
    """
    found = []
    centre = x.mean(0)
    x = x - centre
    square = x.square().sum(1)
    for part in torch.split(queries - centre, AT_ONCE):
        candidates = (square - 2 * part @ x.T).topk(min(8, len(x)), dim=1, largest=False).indices
        distance = (part[:, None] - x[candidates]).norm(dim=2)
        found.append(distance.sort(dim=1).values[:, :2])
    return torch.cat(found)


def _neighbours(evaluation: Evaluation, num_samples: int) -> tuple[Tensor, Tensor]:
    """Return the distances of samples, and of as many held-out examples, to their two nearest training examples."""
    key = ("two_nearest", num_samples)
    if key not in evaluation.kept:
        embed, narrow = pixels(evaluation.space).embed, evaluation.space.dims <= FEW
        train, held_out, samples = (
            embed(x).to(torch.float64 if narrow else torch.float32)
            for x in (
                examples(evaluation, train=True)[0],
                examples(evaluation, num_samples)[0],
                evaluation.samples(num_samples),
            )
        )
        if min(len(train), len(held_out)) < 2:
            raise Unavailable("there is one example, and no distribution shows in one: 2 or more are needed")
        evaluation.kept[key] = two_nearest(samples, train), two_nearest(held_out, train)
    near: tuple[Tensor, Tensor] = evaluation.kept[key]
    return near


class Memorisation:
    """The share of samples that are near copies: d_1 < ratio d_2, their two nearest training examples' distances.

    Distances are Euclidean, of the data itself. The share of held-out examples that the same rule calls copies stands
    in the protocol: a model that copies nothing has no more.

    Args:
        ratio: below which a sample is a copy; the paper's is 1/3.
        num_samples: samples, and held-out examples at most.

    Reference: Diffusion Probabilistic Models Generalize when They Fail to Memorize, TaeHo Yoon, Joo Young Choi, Sehyun
        Kwon and Ernest K. Ryu, 2023, https://openreview.net/forum?id=shciCbSk9h
    """

    def __init__(self, *, ratio: PositiveFloat, num_samples: Several) -> None:
        self.ratio, self.num_samples = ratio, num_samples

    def __call__(self, evaluation: Evaluation) -> Result:
        """Measure; see `Metric`."""
        samples, held_out = (self._copies(near) for near in _neighbours(evaluation, self.num_samples))
        protocol = {"ratio": self.ratio, "num_samples": len(samples), "held_out": round(float(held_out.mean()), 4)}
        return Result(*mean_and_error(samples), protocol)

    def _copies(self, near: Tensor) -> Tensor:
        return ((near[:, 0] == 0) | (near[:, 0] < self.ratio * near[:, 1])).double()


class DataCopying:
    """The probability that a sample lies nearer to the training set than a held-out example does; 1/2 is right.

    It is the Mann-Whitney statistic P(d(sample) < d(held out)) + P(=) / 2 of the distances to the nearest training
    example, over the whole space at once (the paper's statistic on one cell): above 1/2 the model copies, below 1/2
    it is blurred or lost.

    Args:
        num_samples: samples, and held-out examples at most.

    Reference: A Non-Parametric Test to Detect Data-Copying in Generative Models, Casey Meehan, Kamalika Chaudhuri and
        Sanjoy Dasgupta, 2020, https://arxiv.org/abs/2004.05675
    """

    def __init__(self, *, num_samples: Several) -> None:
        self.num_samples = num_samples

    def __call__(self, evaluation: Evaluation) -> Result:
        """Measure; see `Metric`."""
        samples, held_out = (near[:, 0].contiguous() for near in _neighbours(evaluation, self.num_samples))
        nearer, farther = _share_above(samples, held_out), 1 - _share_above(held_out, samples)
        error = sqrt(float(nearer.var()) / len(nearer) + float(farther.var()) / len(farther))
        return Result(float(nearer.mean()), error, {"num_samples": len(samples)})


def _share_above(a: Tensor, b: Tensor) -> Tensor:
    """Return (n,) for each of a (n,) the share of b (m,) that is larger, ties counted half."""
    order = b.sort().values
    below, reached = torch.searchsorted(order, a), torch.searchsorted(order, a, right=True)
    return 1 - (below + reached).double() / (2 * len(order))
