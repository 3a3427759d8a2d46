"""A density from draws of it: one Gaussian on every draw."""

from math import log, pi

import torch
from torch import Tensor

CHUNK = 512
"""Points whose distances to all draws are held at once."""

WIDTHS = 24
"""Bandwidths that are tried: each about a fifth wider than the one before."""


def kernel_density(draws: Tensor, x: Tensor) -> Tensor:
    """Estimate log p(x) = log (1/n) sum_i N(x; x_i, h² diag(s²)), s the draws' deviations.

    The bandwidth h is the one under which each draw is most probable given all the others, so that it follows the modes
    and not the distance between them.

    Args:
        draws: (n, d) of p, n > 1.
        x: (m, d).

    Returns:
        (m,) nats, on the CPU.

    Reference: An Alternative Method of Cross-Validation for the Smoothing of Density Estimates, Bowman, 1984,
        https://doi.org/10.1093/biomet/71.2.353; with the likelihood for its score, as Duin, 1976,
        https://doi.org/10.1109/TC.1976.1674577, chooses it
    """
    draws, x = draws.detach().double().cpu(), x.detach().double().cpu()
    deviation = draws.std(0).clamp(min=1e-12)
    at, where = draws / deviation, x / deviation
    widths = torch.logspace(-2.3, 0.0, WIDTHS, dtype=torch.float64)
    scores = torch.stack([_log_mean(at, at, float(h), without_self=True).mean() for h in widths])
    best = float(widths[int(scores.nan_to_num(-torch.inf).argmax())])
    return (_log_mean(at, where, best, without_self=False) - deviation.log().sum()).float()


def _log_mean(draws: Tensor, x: Tensor, h: float, *, without_self: bool) -> Tensor:
    """Return (m,) the log of the mean kernel over the draws, or over the others where x are the draws themselves."""
    n, d = draws.shape
    found = []
    for start in range(0, len(x), CHUNK):
        log_kernel = -(torch.cdist(x[start : start + CHUNK], draws) / h).square() / 2
        if without_self:
            log_kernel[torch.arange(len(log_kernel)), start + torch.arange(len(log_kernel))] = -torch.inf
        found.append(log_kernel.logsumexp(1))
    return torch.cat(found) - log(n - without_self) - d * (log(h) + log(2 * pi) / 2)
