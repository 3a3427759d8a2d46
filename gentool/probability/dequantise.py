"""Integer levels as reals: uniform noise within each level, and an optional logit, with their log-determinants."""

from math import log

import torch
from torch import Tensor

TINY = 1e-6
"""How near to 0 and 1 a logit is taken on the way back; beyond, a float has no more digits."""


def dequantise(x: Tensor, u: Tensor | float, levels: int, alpha: float | None) -> tuple[Tensor, Tensor]:
    """Spread integer levels over an interval of reals.

    w = (x + u) / levels lies in [0, 1); then v = 2 w - 1, or with alpha v = logit(alpha + (1 - 2 alpha) w). If q is a
    density of v, then P(x) = ∫ q(v) |dv/du| du over u in [0, 1): that of integers, comparable with any other model's.

    Args:
        x: (batch, …) integers 0..levels-1.
        u: (batch, …) uniform in [0, 1), or one number for all.
        levels: how many there are.
        alpha: how far the logit stays from 0 and 1, in (0, 0.5); None: no logit.

    Returns:
        v (batch, …) float, and log |det dv/du| (batch,) nats.
    """
    w = (x + u) / levels
    if alpha is None:
        return 2 * w - 1, w.new_full((len(w),), w[0].numel() * log(2 / levels))
    p = alpha + (1 - 2 * alpha) * w
    log_p, log_q = p.log(), torch.log1p(-p)
    slope = log((1 - 2 * alpha) / levels) - log_p - log_q
    return log_p - log_q, slope.flatten(1).sum(1)


def quantise(v: Tensor, levels: int, alpha: float | None) -> Tensor:
    """Return x + u of reals v: the inverse of `dequantise`, whose whole part is x.

    Args:
        v: (batch, …).
        levels: how many there are.
        alpha: as in `dequantise`.

    Returns:
        (batch, …) float; outside [0, levels) where v is outside the interval.
    """
    if alpha is None:
        return (v + 1) * (levels / 2)
    return (v.sigmoid().clamp(TINY, 1 - TINY) - alpha) * (levels / (1 - 2 * alpha))
