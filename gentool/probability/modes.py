"""Which modes of a known mixture a set of samples captures."""

from typing import NamedTuple

import torch
from torch import Tensor

from gentool.probability.densities import GaussianMixture

PROTOCOL = "pacgan-1"
"""Version of the definitions below; numbers of different versions are never compared."""

REACH = 3.0
"""Standard deviations of a mode within which a sample is of high quality."""

SAMPLES = 2500
"""Samples that PacGAN's table is of."""


class Modes(NamedTuple):
    """What samples capture of a mixture.

    Attributes:
        captured: modes with at least one sample of high quality nearest to them.
        high_quality: share of the samples within `REACH` standard deviations of the nearest mode, in [0, 1].
        reverse_kl: KL(share of samples nearest to each mode || the mixture's weights), nats; 0 is balanced.
    """

    captured: float
    high_quality: float
    reverse_kl: float


def separated(density: object) -> bool:
    """Whether it is a mixture of two or more Gaussians no two of which come within `2 REACH` standard deviations."""
    if not isinstance(density, GaussianMixture) or len(density.means) < 2:
        return False
    gap = torch.pdist(density.means)
    a, b = torch.triu_indices(len(density.means), len(density.means), offset=1)
    return bool((gap >= REACH * (density.sigmas[a] + density.sigmas[b])).all())


def assign(x: Tensor, mixture: GaussianMixture) -> tuple[Tensor, Tensor]:
    """Assign samples to modes by distance in units of each mode's own standard deviation.

    Args:
        x: (n, d), on any device.
        mixture: of K modes.

    Returns:
        (n,) int64 nearest mode, and (n,) whether it is of high quality; both on the CPU.
    """
    centred = x.detach().cpu().double()[:, None] - mixture.means
    distance, mode = (centred.norm(dim=2) / mixture.sigmas).min(dim=1)
    return mode, distance < REACH


def modes_captured(x: Tensor, mixture: GaussianMixture) -> Modes:
    """Count the modes that samples capture, by the protocol of PacGAN's tables.

    A sample is of high quality within 3 sigma of its nearest mode; a mode is captured if a sample of high quality is
    nearest to it; reverse KL is of all samples' shares q_k against the weights: sum_k q_k log(q_k / w_k).

    Args:
        x: (n, d) samples, n at least 1; the paper takes 2,500.
        mixture: of K modes, well separated.

    Returns:
        Modes captured, share of high quality, reverse KL.

    Reference: PacGAN: The power of two samples in generative adversarial networks, Zinan Lin, Ashish Khetan, Giulia
        Fanti and Sewoong Oh, 2018, https://arxiv.org/abs/1712.04086
    """
    return tally(*assign(x, mixture), mixture.weights)


def tally(mode: Tensor, good: Tensor, weights: Tensor) -> Modes:
    """Count the modes that assigned samples capture; see `modes_captured`.

    Args:
        mode: (n,) int64 nearest mode of each sample.
        good: (n,) whether it is of high quality.
        weights: (K,) of the mixture, sum to 1.

    Returns:
        Modes captured, share of high quality, reverse KL.
    """
    share = torch.bincount(mode, minlength=len(weights)) / len(mode)
    return Modes(
        captured=float(torch.bincount(mode[good]).count_nonzero()),
        high_quality=float(good.double().mean()),
        reverse_kl=float(torch.special.xlogy(share, share / weights).sum()),
    )
