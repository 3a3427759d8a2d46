"""Noise schedules of x_t = alpha_t x + sigma_t eps over t in [0, 1], and how a network's output predicts x from x_t.

Only the ratio r = sigma_t / alpha_t matters to what can be known of x: with z = x_t / alpha_t = x + r eps every
schedule is one of growing noise. So a schedule is the function t -> r; alpha_t is 1, or what keeps the variance at 1.
"""

from abc import ABC, abstractmethod
from math import atan, log, log1p, pi, sqrt
from typing import Annotated, ClassVar, Literal, NamedTuple

import torch
from pydantic import PositiveFloat
from torch import Tensor

from gentool.errors import UsageError
from gentool.signatures import OneOf

Parameterisation = Literal["eps", "x0", "v"]
"""What the network's output stands for."""

BETA_START, BETA_SLOPE = 0.1, 19.9
"""Of the linear schedule, per unit of time: 1e-4 and 0.02 of a thousand steps."""


class NoiseSchedule(ABC):
    """A noise schedule: t uniform in [0, 1] in training, r from `sigma_min` at t = 0 to `sigma_max` at t = 1.

    A schedule is a function of its own time s, of which t runs through the part between the two ends.

    Args:
        sigma_min: smallest r, > 0: well below the finest detail of the data; images span 2, points have standard
            deviation 1.
        sigma_max: largest r, > sigma_min: at it nothing of the data can be told.

    Raises:
        UsageError: where sigma_max is not above sigma_min.
    """

    preserves_variance: ClassVar[bool]
    """Whether alpha² + sigma² = 1; else alpha = 1."""

    def __init__(self, *, sigma_min: PositiveFloat = 0.01, sigma_max: PositiveFloat = 80.0) -> None:
        if sigma_max <= sigma_min:
            raise UsageError(f"noise.sigma_max={sigma_max}: expected more than sigma_min={sigma_min}")
        self.sigma_min, self.sigma_max = sigma_min, sigma_max
        self._start, self._end = self._time(sigma_min), self._time(sigma_max)

    @abstractmethod
    def _time(self, r: float) -> float:
        """Return the schedule's own time s of a ratio."""

    @abstractmethod
    def _ratio(self, s: Tensor) -> Tensor:
        """Return r at the schedule's own time."""

    @abstractmethod
    def _slope(self, s: Tensor) -> Tensor:
        """Return d log r / ds at the schedule's own time."""

    def _own(self, t: Tensor) -> Tensor:
        return self._start + (self._end - self._start) * t

    def ratio(self, t: Tensor) -> Tensor:
        """Return r = sigma_t / alpha_t, of t in [0, 1]."""
        return self._ratio(self._own(t)).clamp(self.sigma_min, self.sigma_max)

    def slope(self, t: Tensor) -> Tensor:
        """Return d log r / dt > 0, of t in [0, 1]."""
        return self._slope(self._own(t)) * (self._end - self._start)

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
            rho: r^(1 / rho) falls evenly (7 in Karras et al.); None: the schedule's own time does.

        Returns:
            steps + 1 numbers.
        """
        t = torch.linspace(1, 0, steps, dtype=torch.float64)
        if rho is None:
            return [*self.ratio(t).tolist(), 0.0]
        top, bottom = self.sigma_max ** (1 / rho), self.sigma_min ** (1 / rho)
        return [*((bottom + (top - bottom) * t) ** rho).tolist(), 0.0]


class Linear(NoiseSchedule):
    """The variance added in a unit of time grows linearly: alpha² = exp(-(0.1 s + 9.95 s²)), variance preserving.

    Reference: Denoising Diffusion Probabilistic Models, Jonathan Ho et al., 2020, https://arxiv.org/abs/2006.11239
    """

    preserves_variance = True

    def _time(self, r: float) -> float:
        return (sqrt(BETA_START**2 + 2 * BETA_SLOPE * log1p(r * r)) - BETA_START) / BETA_SLOPE

    def _ratio(self, s: Tensor) -> Tensor:
        return (BETA_START * s + BETA_SLOPE / 2 * s * s).expm1().sqrt()

    def _slope(self, s: Tensor) -> Tensor:
        return -(BETA_START + BETA_SLOPE * s) / (2 * (-BETA_START * s - BETA_SLOPE / 2 * s * s).expm1())


class Cosine(NoiseSchedule):
    """alpha = cos(pi s / 2), so r = tan(pi s / 2); variance preserving.

    Reference: Improved Denoising Diffusion Probabilistic Models, Alex Nichol and Prafulla Dhariwal, 2021,
        https://arxiv.org/abs/2102.09672
    """

    preserves_variance = True

    def _time(self, r: float) -> float:
        return 2 / pi * atan(r)

    def _ratio(self, s: Tensor) -> Tensor:
        return (pi / 2 * s).tan()

    def _slope(self, s: Tensor) -> Tensor:
        return pi / (pi * s).sin()


class Geometric(NoiseSchedule):
    """r = sigma_min (sigma_max / sigma_min)^t, alpha = 1.

    Reference: Generative Modeling by Estimating Gradients of the Data Distribution, Yang Song and Stefano Ermon, 2019,
        https://arxiv.org/abs/1907.05600
    """

    preserves_variance = False

    def _time(self, r: float) -> float:
        return log(r)

    def _ratio(self, s: Tensor) -> Tensor:
        return s.exp()

    def _slope(self, s: Tensor) -> Tensor:
        return torch.ones_like(s)


class LogNormal(NoiseSchedule):
    """log r ~ N(mean, std²) between the ends, alpha = 1.

    Args:
        sigma_min: smallest r, > 0: well below the finest detail of the data; images span 2, points have standard
            deviation 1.
        sigma_max: largest r, > sigma_min: at it nothing of the data can be told.
        mean: of log r.
        std: standard deviation of log r, > 0.

    Reference: Elucidating the Design Space of Diffusion-Based Generative Models, Tero Karras et al., 2022,
        https://arxiv.org/abs/2206.00364
    """

    preserves_variance = False

    def __init__(
        self,
        *,
        sigma_min: PositiveFloat = 0.01,
        sigma_max: PositiveFloat = 80.0,
        mean: float = -1.2,
        std: PositiveFloat = 1.2,
    ) -> None:
        self.mean, self.std = mean, std
        super().__init__(sigma_min=sigma_min, sigma_max=sigma_max)

    def _time(self, r: float) -> float:
        return float(torch.special.ndtr(torch.tensor((log(r) - self.mean) / self.std, dtype=torch.float64)))

    def _ratio(self, s: Tensor) -> Tensor:
        r: Tensor = (self.mean + self.std * torch.special.ndtri(s)).exp()
        return r

    def _slope(self, s: Tensor) -> Tensor:
        slope: Tensor = self.std * (2 * pi) ** 0.5 * (torch.special.ndtri(s).square() / 2).exp()
        return slope


Noise = Annotated[NoiseSchedule, OneOf(linear=Linear, cosine=Cosine, geometric=Geometric, log_normal=LogNormal)]
"""A noise schedule by its name."""


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
