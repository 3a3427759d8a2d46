"""Gaussians: densities and divergences; of diagonal ones a number a dimension."""

from math import inf, log, pi, sqrt
from typing import Any

import torch
from torch import Tensor

LOG_2_PI = log(2 * pi)


def log_density(x: Tensor, mu: Tensor | float, log_sigma: Tensor | float) -> Tensor:
    """Return log N(x; mu, sigma²) = -((x - mu) / sigma)² / 2 - log sigma - log(2 pi) / 2.

    Args:
        x: (…,), any shape that broadcasts with the others.
        mu: the mean.
        log_sigma: log of the standard deviation.

    Returns:
        Nats a dimension, in the broadcast shape.

    >>> round(log_density(torch.zeros(()), 0.0, 0.0).item(), 4)
    -0.9189
    """
    sigma = torch.as_tensor(log_sigma).exp()
    return -0.5 * ((x - mu) / sigma) ** 2 - log_sigma - 0.5 * LOG_2_PI


def kl(mu: Tensor, log_var: Tensor) -> Tensor:
    """Return KL(N(mu, exp(log_var)) || N(0, 1)) = (mu² + sigma² - log sigma² - 1) / 2.

    Args:
        mu: (…,) means.
        log_var: (…,) log variances.

    Returns:
        (…,) nats a dimension, at least 0.

    >>> kl(torch.tensor(2.0), torch.tensor(0.0)).item()
    2.0
    """
    # expm1 keeps the difference of exp(log_var) and 1 exact where the posterior is close to the prior.
    return 0.5 * (mu.square() + torch.expm1(log_var) - log_var)


def kl_of_points(z: Tensor) -> float:
    """Return KL(N(m, C) || N(0, I)) = (tr C + |m|² - d - log det C) / 2, m and C the mean and covariance of points.

    Args:
        z: (n, d).

    Returns:
        Nats, at least 0; infinite where the points do not fill their space.

    >>> round(kl_of_points(torch.tensor([[1.0], [3.0]])), 4)  # N(2, 2): (2 + 4 - 1 - log 2) / 2
    2.1534
    """
    if len(z) <= z.shape[1]:
        return inf
    z = z.double()
    centred = z - z.mean(0)
    variances = torch.linalg.eigvalsh(centred.T @ centred / (len(z) - 1))
    if variances[0] <= 1e-12 * variances[-1]:
        return inf
    return 0.5 * float((variances - 1 - variances.log()).sum() + z.mean(0).square().sum())


def log_cdf(x: Tensor) -> Tensor:
    """Return log Phi(x), of the standard Gaussian.

    Args:
        x: (…,).

    Returns:
        (…,) nats, exact in both tails, and so is its gradient.
    """
    out: Tensor = _LogCdf.apply(x)
    return out


class _LogCdf(torch.autograd.Function):
    """torch's log_ndtr; its own gradient, exp(-x²/2 - log Phi(x)), is NaN below -100."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        value: Tensor = torch.special.log_ndtr(x)
        return value

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        slope: Tensor = sqrt(2 / pi) / torch.special.erfcx(x * -sqrt(0.5))
        return gradient * slope
