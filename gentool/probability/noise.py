"""How much noise: laws of x_t = alpha_t x + sigma_t eps over t in [0, 1], and what a network can say of x given x_t.

Only the ratio r = sigma_t / alpha_t matters to what can be known of x: with z = x_t / alpha_t = x + r eps every law is
one of growing noise. So a law is the function t -> r; alpha_t is 1, or what keeps the variance at 1.
"""

from math import atan, log, log1p, pi, sqrt
from typing import Literal, NamedTuple

import torch
from pydantic import PositiveFloat
from torch import Tensor

from gentool.errors import UsageError

Parameterisation = Literal["eps", "x0", "v"]
"""What the network's output stands for."""

BETA_START, BETA_SLOPE = 0.1, 19.9
"""Of the linear law, per unit of time: 1e-4 and 0.02 of a thousand steps."""


class Noise:
    """A law of noise: t uniform in [0, 1] in training, r from `sigma_min` at t = 0 to `sigma_max` at t = 1.

    - linear: alpha² = exp(-(0.1 s + 9.95 s²)), variance preserving; s is t, moved so that r ends where it is to
    - cosine: alpha = cos(pi s / 2), variance preserving
    - geometric: r = sigma_min (sigma_max / sigma_min)^t, alpha = 1
    - log_normal: log r ~ N(mean, std²) between its ends, alpha = 1

    Args:
        law: linear (the paper's), cosine: variance preserving; geometric, log_normal: variance exploding.
        sigma_min: smallest r, > 0: well below what is finest in the data; images span 2, points have deviation 1.
        sigma_max: largest r: data drowns.
        mean: log_normal only: of log r.
        std: log_normal only: of log r, > 0.

    Raises:
        UsageError: where sigma_max is not above sigma_min.

    Reference: Denoising Diffusion Probabilistic Models, Jonathan Ho et al., 2020, https://arxiv.org/abs/2006.11239
        (linear); Improved Denoising Diffusion Probabilistic Models, Alex Nichol and Prafulla Dhariwal, 2021,
        https://arxiv.org/abs/2102.09672 (cosine); Generative Modeling by Estimating Gradients of the Data Distribution,
        Yang Song and Stefano Ermon, 2019, https://arxiv.org/abs/1907.05600 (geometric); Elucidating the Design Space of
        Diffusion-Based Generative Models, Tero Karras et al., 2022, https://arxiv.org/abs/2206.00364 (log_normal)
    """

    def __init__(
        self,
        *,
        law: Literal["linear", "cosine", "geometric", "log_normal"] = "cosine",
        sigma_min: PositiveFloat = 0.01,
        sigma_max: PositiveFloat = 80.0,
        mean: float = -1.2,
        std: PositiveFloat = 1.2,
    ) -> None:
        if sigma_max <= sigma_min:
            raise UsageError(f"model.noise.sigma_max={sigma_max}: expected more than sigma_min={sigma_min}")
        self.law, self.sigma_min, self.sigma_max, self.mean, self.std = law, sigma_min, sigma_max, mean, std
        self.preserves_variance = law in ("linear", "cosine")
        self._start, self._end = self._time(sigma_min), self._time(sigma_max)

    def _time(self, r: float) -> float:
        """Return the law's own time s of a ratio."""
        if self.law == "linear":
            return (sqrt(BETA_START**2 + 2 * BETA_SLOPE * log1p(r * r)) - BETA_START) / BETA_SLOPE
        if self.law == "cosine":
            return 2 / pi * atan(r)
        if self.law == "geometric":
            return log(r)
        return float(torch.special.ndtr(torch.tensor((log(r) - self.mean) / self.std, dtype=torch.float64)))

    def ratio(self, t: Tensor) -> Tensor:
        """Return r = sigma_t / alpha_t, of t in [0, 1]."""
        s = self._start + (self._end - self._start) * t
        if self.law == "linear":
            r = (BETA_START * s + BETA_SLOPE / 2 * s * s).expm1().sqrt()
        elif self.law == "cosine":
            r = (pi / 2 * s).tan()
        elif self.law == "geometric":
            r = s.exp()
        else:
            r = (self.mean + self.std * torch.special.ndtri(s)).exp()
        return r.clamp(self.sigma_min, self.sigma_max)

    def slope(self, t: Tensor) -> Tensor:
        """Return d log r / dt > 0, of t in [0, 1]."""
        s = self._start + (self._end - self._start) * t
        if self.law == "linear":
            rate = BETA_START + BETA_SLOPE * s
            slope = -rate / (2 * (-BETA_START * s - BETA_SLOPE / 2 * s * s).expm1())
        elif self.law == "cosine":
            slope = pi / (pi * s).sin()
        elif self.law == "geometric":
            slope = torch.ones_like(s)
        else:
            slope = self.std * (2 * pi) ** 0.5 * (torch.special.ndtri(s).square() / 2).exp()
        return slope * (self._end - self._start)

    def alpha(self, t: Tensor) -> Tensor:
        """Return alpha_t: 1, or 1 / sqrt(1 + r²) where the variance is preserved."""
        r = self.ratio(t)
        return (1 + r * r).rsqrt() if self.preserves_variance else torch.ones_like(r)

    def sigma(self, t: Tensor) -> Tensor:
        """Return sigma_t = r alpha_t."""
        return self.ratio(t) * self.alpha(t)

    def log_snr(self, t: Tensor) -> Tensor:
        """Return log(alpha_t² / sigma_t²) = -2 log r."""
        return -2 * self.ratio(t).log()

    def levels(self, steps: int, rho: float | None) -> list[float]:
        """Return the ratios a solver visits: `steps` from sigma_max down to sigma_min, then 0.

        Args:
            steps: how many.
            rho: r^(1 / rho) falls evenly (7 in Karras et al.); None: the law's own time does.

        Returns:
            steps + 1 numbers.
        """
        t = torch.linspace(1, 0, steps, dtype=torch.float64)
        if rho is None:
            return [*self.ratio(t).tolist(), 0.0]
        top, bottom = self.sigma_max ** (1 / rho), self.sigma_min ** (1 / rho)
        return [*((bottom + (top - bottom) * t) ** rho).tolist(), 0.0]


class Coefficients(NamedTuple):
    """x0 = skip z + out output.

    Attributes:
        skip: of z = x + r eps.
        out: of the network's output.
    """

    skip: Tensor
    out: Tensor


def coefficients(kind: Parameterisation, r: Tensor, scale: Tensor) -> Coefficients:
    """Return how x0 is read from z = x + r eps and a network's output.

    - eps: x0 = z - r output
    - x0: x0 = output
    - v: x0 = (scale² z - r sqrt(r² + scale²) scale output) / (r² + scale²): the angular speed alpha eps - sigma x where
      scale = 1; otherwise, but for its sign, the preconditioning of Karras et al.

    Args:
        kind: what the output stands for.
        r: ratio of noise to signal.
        scale: root mean square of the data.

    Returns:
        The two coefficients, in the shape of r.

    Reference: Progressive Distillation for Fast Sampling of Diffusion Models, Tim Salimans and Jonathan Ho, 2022,
        https://arxiv.org/abs/2202.00512
    """
    if kind == "eps":
        return Coefficients(torch.ones_like(r), -r)
    if kind == "x0":
        return Coefficients(torch.zeros_like(r), torch.ones_like(r))
    total = r * r + scale * scale
    return Coefficients(scale * scale / total, -r * scale * total.rsqrt())


def weight(kind: Parameterisation, r: Tensor, scale: Tensor) -> Tensor:
    """Return what |x - x0|² is weighted by, so that it is the squared error of an output of that kind: 1 / out²."""
    return coefficients(kind, r, scale).out.square().reciprocal()


def denoised(kind: Parameterisation, output: Tensor, z: Tensor, r: Tensor, scale: Tensor) -> Tensor:
    """Return x0 of a network's output; r and scale broadcast to z."""
    skip, out = coefficients(kind, r, scale)
    return skip * z + out * output


def output_of(kind: Parameterisation, x0: Tensor, z: Tensor, r: Tensor, scale: Tensor) -> Tensor:
    """Return the output that stands for x0: the inverse of `denoised`, and the target in training."""
    skip, out = coefficients(kind, r, scale)
    return (x0 - skip * z) / out


def score(x0: Tensor, z: Tensor, r: Tensor) -> Tensor:
    """Return the gradient of log p(z) at noise r: (E[x | z] - z) / r²."""
    return (x0 - z) / (r * r)
