"""Priors over a latent: log p(z), and draws at a temperature."""

from abc import ABC, abstractmethod
from typing import Literal

import torch
from torch import Tensor, nn

from gentool.probability import gaussians
from gentool.probability.gaussians import log_density

Name = Literal["normal", "mixture"]

SPREAD = 1.0
"""Standard deviation of a mixture's means at the start, and half of what its components have."""


class Prior(nn.Module, ABC):
    """A density over z of `latent_dim` dimensions.

    Args:
        latent_dim: dimensions of z.

    Attributes:
        components: densities that each log p(z) sums over.
    """

    components: int = 1

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.latent_dim = latent_dim

    @abstractmethod
    def log_prob(self, z: Tensor) -> Tensor:
        """Return log p(z).

        Args:
            z: (…, latent_dim).

        Returns:
            (…,) nats.
        """

    def kl(self, mu: Tensor, log_var: Tensor, z: Tensor) -> Tensor:
        """Return KL(N(mu, exp(log_var)) || p), in closed form where there is one, else the mean of log q(z) - log p(z).

        Args:
            mu: (batch, latent_dim).
            log_var: (batch, latent_dim).
            z: (draws, batch, latent_dim), drawn from that Gaussian.

        Returns:
            (batch, latent_dim) nats a dimension, or (batch, 1) where dimensions have none of their own.
        """
        log_q = log_density(z, mu, 0.5 * log_var).sum(-1)
        return (log_q - self.log_prob(z)).mean(0).unsqueeze(1)

    @abstractmethod
    def sample(self, n: int, temperature: float, device: torch.device) -> Tensor:
        """Draw z.

        Args:
            n: how many.
            temperature: factor on the standard deviation of what is Gaussian; 1 draws from the density itself.
            device: where to.

        Returns:
            (n, latent_dim).
        """


class StandardNormal(Prior):
    """p(z) = N(z; 0, 1)."""

    def log_prob(self, z: Tensor) -> Tensor:
        """Return -(z² + log 2 pi) / 2, summed over dimensions."""
        return -0.5 * (z.square().sum(-1) + z.shape[-1] * gaussians.LOG_2_PI)

    def kl(self, mu: Tensor, log_var: Tensor, z: Tensor) -> Tensor:
        """Return the closed form; `z` is not needed."""
        return gaussians.kl(mu, log_var)

    def sample(self, n: int, temperature: float, device: torch.device) -> Tensor:
        """Draw temperature times standard noise."""
        return torch.randn(n, self.latent_dim, device=device) * temperature


class Mixture(Prior):
    """p(z) = sum_k w_k N(z; mu_k, sigma_k²), all of it learned; sigma_k is a number a dimension.

    Args:
        latent_dim: dimensions of z.
        components: number of Gaussians, k.

    Reference: VAE with a VampPrior, Jakub Tomczak and Max Welling, 2018, https://arxiv.org/abs/1705.07120 (its MoG)
    """

    def __init__(self, latent_dim: int, components: int) -> None:
        super().__init__(latent_dim)
        self.components = components
        self.logits = nn.Parameter(torch.zeros(components))
        self.means = nn.Parameter(SPREAD * torch.randn(components, latent_dim))
        self.log_sigmas = nn.Parameter(torch.full((components, latent_dim), SPREAD / 2).log())

    def log_prob(self, z: Tensor) -> Tensor:
        """Return log sum_k w_k N(z; mu_k, sigma_k²)."""
        each = log_density(z.unsqueeze(-2), self.means, self.log_sigmas).sum(-1)
        total: Tensor = (each + self.logits.log_softmax(0)).logsumexp(-1)
        return total

    def sample(self, n: int, temperature: float, device: torch.device) -> Tensor:
        """Draw a component by its weight, then z from it, its standard deviations times the temperature."""
        k = torch.multinomial(self.logits.softmax(0), n, replacement=True)
        noise = torch.randn(n, self.latent_dim, device=device)
        return self.means[k] + temperature * self.log_sigmas[k].exp() * noise


def prior_for(name: Name, latent_dim: int, components: int) -> Prior:
    """Build the prior of that name.

    Args:
        name: normal or mixture.
        latent_dim: dimensions of z.
        components: of a mixture.

    Returns:
        The prior.
    """
    return StandardNormal(latent_dim) if name == "normal" else Mixture(latent_dim, components)
