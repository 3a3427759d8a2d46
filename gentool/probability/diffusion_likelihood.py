"""log p(x) of a denoiser: by its evidence bound in continuous time, and by its probability flow.

A denoiser maps z = x + r eps and r (batch,) to E[x | z].
"""

from collections.abc import Callable
from math import log, pi

import torch
from torch import Tensor

from gentool.probability.gaussians import log_density
from gentool.probability.ode import draw_probes, integrate, integrate_with_log_det

Denoise = Callable[[Tensor, Tensor], Tensor]
"""Maps z (batch, *shape) and r (batch,) to E[x | z]."""

LEVELS = 10
"""Values of r in one draw of the evidence bound, spread evenly: the error of one alone would drown it."""


def across(r: Tensor, z: Tensor) -> Tensor:
    """Return r (batch,) as (batch, 1, …, 1), which broadcasts to z."""
    return r.reshape(-1, *[1] * (z.dim() - 1))


def diffusion_cost(denoise: Denoise, x: Tensor, low: float, high: float, *, draws: int) -> Tensor:
    """Return an unbiased estimate of the KL of all the steps between two levels, infinitely many of them.

    ∫ |x - x0(x + r eps)|² / r² d log r, log r drawn evenly: each value of it in a cell of its own.

    Args:
        denoise: x0.
        x: (batch, *shape), in model space.
        low: the smaller ratio.
        high: the larger one.
        draws: of `LEVELS` values of r for each example.

    Returns:
        (batch,) nats.

    Reference: Variational Diffusion Models, Diederik P. Kingma et al., 2021, https://arxiv.org/abs/2107.00630
    """
    width = log(high / low)
    offset = torch.rand(len(x), device=x.device)
    total = torch.zeros_like(offset)
    count = draws * LEVELS
    for i in range(count):
        r = (log(low) + width * ((offset + i) / count)).exp()
        z = x + across(r, x) * torch.randn_like(x)
        total += (x - denoise(z, r)).flatten(1).square().sum(1) / r.square()
    return total * (width / count)


def prior_cost(x: Tensor, high: float, scale: float) -> Tensor:
    """Return KL(N(x, high²) || N(0, high² + scale²)), (batch,) nats, of x (batch, *shape) in model space."""
    inner, outer = high * high, high * high + scale * scale
    return 0.5 * (x.square() / outer + (inner / outer - 1 - log(inner / outer))).flatten(1).sum(1)


def evidence(denoise: Denoise, x: Tensor, low: float, high: float, scale: float, *, draws: int) -> Tensor:
    """Return what E log p(x | z), z at the lowest ratio, is to be added to: -(the KL of the steps and of the prior).

    Args:
        denoise: x0.
        x: (batch, *shape), in model space.
        low: the smallest ratio.
        high: the largest one.
        scale: root mean square of the data.
        draws: of `LEVELS` values of r for each example.

    Returns:
        (batch,) nats.
    """
    return -diffusion_cost(denoise, x, low, high, draws=draws) - prior_cost(x, high, scale)


class Flow:
    """The probability flow between two levels of noise, in u = z / sqrt(r² + scale²).

    du / d log r = (scale² u - sqrt(r² + scale²) x0) / (r² + scale²), which is dz / dr = (z - x0) / r.

    Args:
        denoise: x0.
        low: the smaller ratio.
        high: the larger one, where u is N(0, 1).
        scale: root mean square of the data.
        steps: of Runge and Kutta's rule of order 4, each of four evaluations, even in log r.

    Reference: Score-Based Generative Modeling through Stochastic Differential Equations, Yang Song et al., 2020,
        https://arxiv.org/abs/2011.13456
    """

    def __init__(self, denoise: Denoise, low: float, high: float, scale: float, *, steps: int) -> None:
        self.denoise, self.low, self.high, self.scale, self.steps = denoise, low, high, scale, steps
        self.shrink: float = (low * low + scale * scale) ** -0.5

    def field(self, u: Tensor, log_r: Tensor) -> Tensor:
        """Return du / d log r, of u (batch, *shape) and log r (batch,)."""
        r = log_r.exp()
        root = across((r * r + self.scale**2).sqrt(), u)
        return (self.scale**2 * u - root * self.denoise(root * u, r)) / root.square()

    def up(self, z: Tensor) -> Tensor:
        """Return the noise u that data z (batch, *shape) flows to."""
        return self._follow(z * self.shrink, self.low, self.high)

    def down(self, u: Tensor) -> Tensor:
        """Return the data z that noise u (batch, *shape) flows to."""
        return self._follow(u, self.high, self.low) / self.shrink

    def _follow(self, u: Tensor, start: float, end: float) -> Tensor:
        return integrate(self.field, u, log(start), log(end), method="rk4", steps=self.steps, tolerance=1.0)[0]

    def log_prob(self, z: Tensor, probes: Tensor | None) -> Tensor:
        """Return log p(z) at the lower level: log N(u; 0, 1) + log |det du / dz|, u where z flows to.

        Args:
            z: (batch, *shape).
            probes: (k, batch, *shape), for the divergence; None: exact.

        Returns:
            (batch,) nats.
        """
        u, log_det, _ = integrate_with_log_det(
            self.field,
            z * self.shrink,
            log(self.low),
            log(self.high),
            method="rk4",
            steps=self.steps,
            tolerance=1.0,
            probes=probes,
        )
        dims = z[0].numel()
        return log_det + dims * log(self.shrink) - 0.5 * (u.flatten(1).square().sum(1) + dims * log(2 * pi))

    def log_mass(self, x: Tensor, read: Callable[[Tensor], Tensor], *, draws: int) -> Tensor:
        """Return log (1/k) sum_i p(z_i) p(x | z_i) / q(z_i | x), z_i ~ N(x, low²): below log P(x), rising to it.

        Args:
            x: (batch, *shape), integer levels in model space.
            read: log p(x | z) of z, (batch,) nats.
            draws: k.

        Returns:
            (batch,) nats.
        """
        total = x.new_full((len(x),), -torch.inf)
        for _ in range(draws):
            eps = torch.randn_like(x)
            log_q = log_density(eps, 0.0, 0.0).flatten(1).sum(1) - x[0].numel() * log(self.low)
            z = x + self.low * eps
            total = torch.logaddexp(total, self.log_prob(z, draw_probes(z, 1)) + read(z) - log_q)
        return total - log(draws)
