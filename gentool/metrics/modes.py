"""Metrics of mode collapse, of data drawn from a mixture whose modes stand apart."""

from typing import Literal

import torch

from gentool.errors import Unavailable
from gentool.metrics.bootstrap import bootstrap_error
from gentool.metrics.evaluation import Evaluation, Result, Several
from gentool.probability.densities import GaussianMixture
from gentool.probability.modes import PROTOCOL, assign, separated, tally


class ModesCaptured:
    """One number of `modes_captured`: modes with a sample of high quality, the share of those samples, reverse KL.

    Args:
        quantity: which number.
        num_samples: samples it is of; PacGAN's tables are of 2,500.

    Reference: PacGAN: The power of two samples in generative adversarial networks, Zinan Lin, Ashish Khetan, Giulia
        Fanti and Sewoong Oh, 2018, https://arxiv.org/abs/1712.04086
    """

    def __init__(self, *, quantity: Literal["captured", "high_quality", "reverse_kl"], num_samples: Several) -> None:
        self.quantity, self.num_samples = quantity, num_samples

    def __call__(self, evaluation: Evaluation) -> Result:
        """Measure; see `Metric`."""
        density = evaluation.density
        if not isinstance(density, GaussianMixture) or not separated(density):
            raise Unavailable("the data is not drawn from a mixture of Gaussians that stand six deviations apart")
        mode, good = assign(evaluation.samples(self.num_samples), density)

        def quantity(rows: torch.Tensor) -> float:
            value: float = getattr(tally(mode[rows], good[rows], density.weights), self.quantity)
            return value

        error = bootstrap_error(quantity, len(mode), seed=evaluation.seed)
        protocol = {"protocol": PROTOCOL, "num_samples": len(mode), "of": len(density.weights)}
        return Result(quantity(torch.arange(len(mode))), error, protocol)
