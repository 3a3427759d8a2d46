"""Divergences between a known density and a model's, by quadrature over the line or the plane."""

from math import isfinite, log, prod
from typing import Literal

import torch
from pydantic import PositiveInt
from torch import Tensor

from gentool.batch import Batch
from gentool.errors import Unavailable
from gentool.metrics.evaluation import BLOCK, Draws, Evaluation, Result
from gentool.metrics.features import examples
from gentool.probability.densities import KnownDensity
from gentool.training.rng import derive

AT_ONCE = 50 * BLOCK
"""Cells evaluated at once."""

MARGIN = 0.1
"""The grid reaches beyond the points it covers by this share of their extent."""

COVERED = 10_000
"""Draws of the data's density that the grid covers besides the examples, so that few examples make it no smaller."""

WHOLE = 0.02
"""How far the data's mass on the grid may be from 1: a grid too coarse for its modes finds more, or less."""

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


def kullback_leibler(log_p: Tensor, log_q: Tensor, cell: float) -> float:
    """Return KL(p || q) = sum p (log p - log q) cell of two densities on a grid; cells without p add nothing.

    Args:
        log_p: (cells,) nats; -inf where there is none.
        log_q: (cells,) nats.
        cell: volume of a cell.

    Returns:
        KL in nats; inf where q vanishes and p does not.
    """
    p = log_p.double().exp() * cell
    return float(torch.where(p > 0, p * (log_p.double() - log_q.double()), 0.0).sum())


class Divergence:
    """A divergence between the data's density p and the model's q, by quadrature over the line or the plane; nats.

    - js: (KL(p || m) + KL(q || m)) / 2, m = (p + q) / 2, from 0 to log 2.
    - kl: KL(p || q), without the noise that a mean over examples has; infinite where q vanishes and p does not.

    Args:
        quantity: which of them.
        resolution: cells along an axis in two dimensions; its square in one.
        draws: of each log p(x).
    """

    def __init__(self, *, quantity: Literal["js", "kl"], resolution: PositiveInt, draws: Draws) -> None:
        self.quantity, self.resolution, self.draws = quantity, resolution, draws

    def __call__(self, evaluation: Evaluation) -> Result:
        """Measure; see `Metric`."""
        log_p, log_q, cell, protocol = self._on_grid(evaluation)
        js, on_p, on_q = jensen_shannon(log_p, log_q, cell)
        if abs(on_p - 1) > WHOLE:
            raise Unavailable(f"the grid is too coarse: the data's density integrates to {on_p:.4g}; raise resolution")
        if not on_q < MOST:
            raise Unavailable(f"the model's {protocol['kind']} likelihood is no density: its integral is {on_q:.4g}")
        value = js if self.quantity == "js" else kullback_leibler(log_p, log_q, cell)
        if not isfinite(value):
            lost = float((log_p.exp() * cell)[log_q == -torch.inf].sum())
            raise Unavailable(
                f"KL is infinite: the model's density is 0 where {lost:.2g} of the data's mass lies: see js"
            )
        return Result(value, None, {**protocol, "mass_on_grid": round(on_q, 6)})

    def _on_grid(self, evaluation: Evaluation) -> tuple[Tensor, Tensor, float, dict[str, object]]:
        """Return log p and log q of every cell, a cell's volume and the protocol; computed once for both quantities."""
        model, density = evaluation.likelihood(), evaluation.density
        if not isinstance(density, KnownDensity) or evaluation.space.dims > 2:
            raise Unavailable("quadrature needs points of one or two dimensions whose density is known")
        if evaluation.model.conditional:
            raise Unavailable("quadrature is of p(x), and the model is of p(x | y)")
        per_axis = self.resolution if evaluation.space.dims == 2 else self.resolution**2
        draws = evaluation.draws(self.draws)
        key = ("quadrature", per_axis, draws)
        if key not in evaluation.kept:
            drawn = density.sample(COVERED, torch.Generator().manual_seed(derive(evaluation.seed, 9)))
            points, cell = grid(torch.cat([examples(evaluation)[0], drawn]), per_axis)
            x = points.float().to(evaluation.space.loc.device)
            blocks = (Batch(part, None, torch.arange(len(part))) for part in torch.split(x, AT_ONCE))
            log_q = evaluation.log_prob_of(blocks, len(x), draws)
            evaluation.kept[key] = density.log_prob(points), log_q, cell
        return *evaluation.kept[key], {"kind": model.likelihood, "draws": draws, "grid": per_axis}
