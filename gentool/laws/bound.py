"""Laws of bounds: they rise with draws, and lie below log p(x)."""

import time

import torch
from torch import Tensor

from gentool.laws.subject import Subject, Untried, hold
from gentool.models.base import GenerativeModel, HasLikelihood
from gentool.models.claims import Marginalises
from gentool.training.rng import fork

REPEATS, FEWEST, SECONDS = 24, 4, 3.0
"""Repeats of each bound; fewer, but so many, where they take longer than so many seconds of the processor."""

CELLS = {1: 401, 2: 61}
DROPS = (400.0, 60.0, 20.0, 20.0, 20.0)
"""Nats below the peak at which a round of quadrature cuts the plane; its first grid is too coarse to be trusted."""


def is_bound(model: GenerativeModel) -> bool:
    """Whether log_prob claims a lower bound."""
    return isinstance(model, HasLikelihood) and model.likelihood in ("bound", "importance")


def is_marginal(model: GenerativeModel) -> bool:
    """Whether log_prob claims a lower bound of an integral whose integrand is known."""
    return is_bound(model) and isinstance(model, Marginalises)


def bound_rises_with_draws(subject: Subject) -> str:
    """E log_prob(draws=1) <= E log_prob(draws=8), in the mean over examples."""
    one, error = averaged(subject, 1)
    eight, other = averaged(subject, 8)
    rise = (eight - one).mean()
    noise = float((error.square() + other.square()).sum().sqrt()) / len(one)
    low = 4 * noise + 1e-4 * (1 + float(one.abs().mean()))
    hold(rise >= -low, f"8 draws lie {-float(rise):.4g} nats below 1 draw, ± {noise:.2g}")
    return f"8 draws lie {float(rise):.3g} ± {noise:.1g} nats above 1 draw"


def bound_lies_below_log_prob(subject: Subject) -> str:
    """E log_prob(draws=k) <= log ∫ p(x, z) dz for k = 1 and 8, the integral by quadrature over z in 1 or 2 dims."""
    exact = quadrature(subject)
    said = []
    for draws in (1, 8):
        value, error = averaged(subject, draws)
        above = float((value - exact).mean())
        noise = float(error.square().sum().sqrt()) / len(value)
        hold(above <= 4 * noise + 0.02, f"by {draws} draws it lies {above:.4g} ± {noise:.2g} nats above log p(x)")
        said.append(f"{-above:.3g}")
    return f"by 1 and 8 draws {said[0]} and {said[1]} nats below log p(x)"


def averaged(subject: Subject, draws: int) -> tuple[Tensor, Tensor]:
    """Return the mean and the standard error of log_prob over repeats of each example, (batch,) float64 each."""
    model, (x, y, _) = subject.model, subject.batch
    assert isinstance(model, HasLikelihood)
    values: list[Tensor] = []
    begun = time.process_time()
    for i in range(REPEATS):
        if i >= FEWEST and time.process_time() - begun > SECONDS:
            break
        with fork(20, draws, i), torch.no_grad():
            values.append(model.log_prob(x, y, draws=draws).double())
    found = torch.stack(values)
    return found.mean(0), found.std(0) / len(values) ** 0.5


def quadrature(subject: Subject) -> Tensor:
    """Return log p(x) of each example, (batch,) float64: grids over z, each round on what the last found of weight.

    One search starts from all of the prior, one about the code of x: a posterior may be too thin for the first grid.

    Args:
        subject: a model whose integrand is known.

    Returns:
        (batch,) nats.

    Raises:
        Untried: where z has more than two dimensions.
    """
    model, (x, y, _) = subject.model, subject.batch
    assert isinstance(model, Marginalises)
    with fork(21), torch.no_grad():
        z = model.sample_latent(1000).double()
        codes = model.encode(x, y).double()
    if z.dim() != 2 or z.shape[1] > 2:
        raise Untried(f"an integral over a latent of {z[0].numel()} dimensions is out of reach")
    every = torch.cat([z, codes])
    low, high = every.amin(0) - 2, every.amax(0) + 2
    values = []
    for i in range(len(x)):
        whole, box = _zoomed(model, x[i : i + 1], None if y is None else y[i : i + 1], low, high)
        own, other = _zoomed(model, x[i : i + 1], None if y is None else y[i : i + 1], codes[i] - 0.5, codes[i] + 0.5)
        apart = bool(((box[1] < other[0]) | (other[1] < box[0])).any())
        values.append(torch.logaddexp(whole, own) if apart else torch.maximum(whole, own))
    return torch.stack(values)


def _zoomed(
    model: Marginalises, x: Tensor, y: Tensor | None, low: Tensor, high: Tensor
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Return the log-integral of p(x, z) over where its weight in a box is, and that smaller box."""
    dims = len(low)
    total, box = torch.tensor(-torch.inf), (low, high)
    for drop in DROPS:
        cells = CELLS[dims]
        line = (torch.arange(cells, dtype=torch.float64, device=low.device) + 0.5) / cells
        unit = line[:, None] if dims == 1 else torch.cartesian_prod(line, line)
        z = low + (high - low) * unit
        labels = None if y is None else y.expand(len(z))
        with torch.no_grad():
            log_p = model.log_joint(x.expand(len(z), *x.shape[1:]), z.float(), labels).double()
        step, box = (high - low) / cells, (low, high)
        total = log_p.logsumexp(0) + step.log().sum()
        kept = z[log_p > log_p.max() - drop]
        low, high = kept.amin(0) - step, kept.amax(0) + step
    return total, box
