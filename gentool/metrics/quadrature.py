"""Divergences between a known density and a model's, by quadrature over the line or the plane."""

from math import log, prod

import torch
from pydantic import PositiveInt
from torch import Tensor

from gentool.batch import Batch
from gentool.errors import Unavailable
from gentool.metrics.evaluation import BLOCK, Evaluation, Result, block_log_prob
from gentool.metrics.features import examples
from gentool.probability.densities import KnownDensity

MARGIN = 0.1
"""The grid reaches beyond the examples by this share of their extent."""

MOST = 1.1
"""An integral above it is not the grid's fault: a noisy bound may lie above log p(x) here and there."""


def grid(x: Tensor, resolution: int) -> tuple[Tensor, float]:
    """Return the middles of the cells of an even grid over points and a margin.

    Args:
        x: (n, d) points to be covered.
        resolution: cells along an axis.

    Returns:
        (resolution ** d, d) float64, and the volume of a cell.
    """
    low, high = x.double().min(0).values, x.double().max(0).values
    low, high = low - MARGIN * (high - low), high + MARGIN * (high - low)
    sides = ((high - low) / resolution).tolist()
    middles = (torch.arange(resolution, dtype=torch.float64) + 0.5).tolist()
    axes = [torch.tensor([float(a) + side * m for m in middles]) for a, side in zip(low, sides, strict=True)]
    axes = [axis.double() for axis in axes]
    return torch.cartesian_prod(*axes).reshape(-1, len(axes)), prod(sides)


def jensen_shannon(log_p: Tensor, log_q: Tensor, cell: float) -> tuple[float, float, float]:
    """Return JS = (KL(p || m) + KL(q || m)) / 2, m = (p + q) / 2, of two densities on a grid.

    What of a density lies off the grid, its mass there being 1 minus that on the grid, is taken to meet nothing of the
    other: it adds mass log 2 / 2, so that JS stays within [0, log 2].

    Args:
        log_p: (cells,) nats; -inf where there is none.
        log_q: (cells,) nats.
        cell: volume of a cell.

    Returns:
        JS in nats, and the masses of p and of q on the grid.
    """
    p, q = (log_density.double().exp() * cell for log_density in (log_p, log_q))
    both = ((p + q) / 2).clamp(min=torch.finfo(torch.float64).tiny)
    total = torch.special.xlogy(p, p / both).sum() + torch.special.xlogy(q, q / both).sum()
    on_p, on_q = float(p.sum()), float(q.sum())
    outside = log(2) * (max(0.0, 1 - on_p) + max(0.0, 1 - on_q)) / 2
    return float(total / 2) + outside, on_p, on_q


class JensenShannon:
    """The Jensen-Shannon divergence between the data's density and the model's, by quadrature; nats, 0 to log 2.

    Args:
        resolution: cells along an axis in two dimensions; its square in one.
        draws: importance samples of each log p(x).
    """

    def __init__(self, *, resolution: PositiveInt, draws: PositiveInt) -> None:
        self.resolution, self.draws = resolution, draws

    def __call__(self, evaluation: Evaluation) -> Result:
        """Measure; see `Metric`."""
        model, density = evaluation.likelihood(), evaluation.density
        if not isinstance(density, KnownDensity) or evaluation.space.dims > 2:
            raise Unavailable("quadrature needs points of one or two dimensions whose density is known")
        if evaluation.model.conditional:
            raise Unavailable("quadrature is of p(x), and the model is of p(x | y)")
        per_axis = self.resolution if evaluation.space.dims == 2 else self.resolution**2
        points, cell = grid(examples(evaluation)[0], per_axis)
        x = points.float().to(evaluation.space.loc.device)
        blocks = (Batch(part, None, torch.arange(len(part))) for part in torch.split(x, 50 * BLOCK))
        draws = 1 if model.likelihood == "exact" else self.draws
        log_q = block_log_prob(model, blocks, 50 * BLOCK, draws=draws, seed=evaluation.seed, say=evaluation.say)
        value, _, mass = jensen_shannon(density.log_prob(points), log_q, cell)
        if not mass < MOST:
            raise Unavailable(f"the model's {model.likelihood} likelihood is no density: its integral is {mass:.4g}")
        protocol = {"kind": model.likelihood, "draws": draws, "grid": per_axis, "mass_on_grid": round(mass, 6)}
        return Result(value, None, protocol)
