"""Integer levels as reals: noise within each level, uniform or learned, and an optional logit, with their densities."""

from collections.abc import Sequence
from math import log
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from gentool.probability.transforms.base import Flatten, Transform
from gentool.probability.transforms.coupling import AffineCouplings, MakeNetwork
from gentool.probability.transforms.squeeze import Squeeze, halvings, squeezed

TINY = 1e-6
"""How near to 0 and 1 a logit is taken of noise and on the way back; beyond, a float has no more digits."""


def dequantise(x: Tensor, u: Tensor | float, levels: int, alpha: float | None) -> tuple[Tensor, Tensor]:
    """Spread integer levels over an interval of reals.

    w = (x + u) / levels lies in [0, 1); then v = 2 w - 1, or with alpha v = logit(alpha + (1 - 2 alpha) w). If q is a
    density of v, then P(x) = ∫ q(v) |dv/du| du over u in [0, 1): that of integers, comparable with any other model's.

    Args:
        x: (batch, …) integers 0..levels-1.
        u: (batch, …) in [0, 1), or one number for all.
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


class VariationalNoise(nn.Module):
    """q(u | x), noise that is learned: u = sigmoid(f(logit(e); x)), with e uniform and f affine couplings that see x.

    So log q(u | x) = -log |det du/de|. Couplings that start as the identity leave u = e: q starts uniform. The first
    one moves every dimension as x alone says; those after it move one half as x and the other half say.

    Args:
        shape: of one x.
        levels: how many there are.
        couplings: how many follow the first; none where a single dimension has no other half.
        bound: largest |log scale| of a coupling, > 0.
        network: of each coupling; see `AffineCouplings`.

    Reference: Flow++: Improving Flow-Based Generative Models with Variational Dequantization and Architecture Design,
        Jonathan Ho, Xi Chen, Aravind Srinivas, Yan Duan and Pieter Abbeel, 2019, https://arxiv.org/abs/1902.00275
    """

    def __init__(self, shape: Sequence[int], levels: int, couplings: int, bound: float, network: MakeNetwork) -> None:
        super().__init__()
        self.levels = levels
        is_image = len(shape) == 3 and halvings(shape) != (1, 1)
        self.fold: Transform = Squeeze(shape) if is_image else Flatten(shape)
        self.channels, *sides = squeezed(shape) if is_image else [torch.Size(shape).numel()]

        def given(seen: Sequence[int], outputs: int, classes: int) -> nn.Module:
            return Beside(network((seen[0] + self.channels, *sides), outputs, classes))

        self.by_x = AffineCouplings((2 * self.channels, *sides), 1, 0, bound, network)
        self.by_halves = None
        if self.channels > 1:
            self.by_halves = AffineCouplings((self.channels, *sides), couplings, 0, bound, given)

    def forward(self, x: Tensor, e: Tensor) -> tuple[Tensor, Tensor]:
        """Move uniform noise.

        Args:
            x: (batch, *shape) as networks like to see it.
            e: (batch, *shape) uniform in [0, 1).

        Returns:
            u (batch, *shape), so far below 1 that x + u never rounds to x + 1; and log q(u | x) (batch,) nats.
        """
        x, start = self.fold.forward_and_log_det(x)[0], self.fold.forward_and_log_det(e.logit(TINY))[0]
        both, total = self.by_x.forward_and_log_det(torch.cat([x, start], 1))
        end = both[:, self.channels :]
        if self.by_halves is not None:
            end, log_det = self.by_halves.forward_and_log_det(end, x)
            total = total + log_det
        log_q = (_log_slope(start) - _log_slope(end)).flatten(1).sum(1) - total
        largest = 1 - self.levels * torch.finfo(end.dtype).eps
        return self.fold.inverse_and_log_det(end.sigmoid().clamp(max=largest))[0], log_q


class Beside(nn.Module):
    """A network of a coupling that sees x beside the half that does not move, as channels more.

    Args:
        network: takes both.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, half: Tensor, x: Tensor) -> Any:
        """Map half and x, joined along axis 1."""
        return self.network(torch.cat([half, x], 1))


def _log_slope(t: Tensor) -> Tensor:
    """Return log of the sigmoid's slope at t."""
    return logsigmoid(t) + logsigmoid(-t)
