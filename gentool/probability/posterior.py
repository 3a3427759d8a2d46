"""A diagonal Gaussian over the latent of each example, and what a pass over data says about it."""

from collections.abc import Iterable
from math import log
from typing import NamedTuple

import torch
from torch import Tensor

from gentool.probability import gaussians
from gentool.probability.moments import Moments
from gentool.space import DataSpace

ACTIVE = 0.01
"""Variance over the data of a latent's posterior mean from which the latent is active (Burda et al.)."""


class Posterior(NamedTuple):
    """q(z | x) = N(mu, exp(log_var)), each (batch, latent_dim)."""

    mu: Tensor
    log_var: Tensor

    def log_prob(self, z: Tensor) -> Tensor:
        """Return log q(z | x) in nats, (…, batch), of z (…, batch, latent_dim)."""
        return gaussians.log_density(z, self.mu, 0.5 * self.log_var).sum(-1)


def summary(seen: Iterable[tuple[Tensor, Tensor, Tensor]], space: DataSpace) -> dict[str, Tensor]:
    """Return what a pass measures, each a mean over examples.

    Args:
        seen: of each batch log p(x | z) (batch,) at a draw, the KL (batch, terms) and the posteriors' means (batch,
            latent_dim); terms is latent_dim where the KL is one a dimension.
        space: the data's facts.

    Returns:
        reconstruction, kl and elbo = reconstruction - kl (nats); kl_per_dim (latent_dim,) nats, where there is one;
        active_units (how many latents' posterior means have a variance above 0.01); and of integer levels bits_per_dim
        of the ELBO. Empty where nothing was seen.
    """
    terms, codes = Moments(), Moments()
    for log_p_x, kl, mu in seen:
        terms.add(torch.cat([log_p_x.unsqueeze(1), kl], 1))
        codes.add(mu)
    if not codes.n:
        return {}
    reconstruction, kl = terms.mean[0], terms.mean[1:]
    elbo = reconstruction - kl.sum()
    found = {"reconstruction": reconstruction, "kl": kl.sum(), "elbo": elbo}
    if kl.shape == codes.mean.shape:
        found["kl_per_dim"] = kl
    if space.levels is not None:
        found["bits_per_dim"] = -elbo / (space.dims * log(2))
    return {**found, "active_units": (codes.variance > ACTIVE).sum()}
