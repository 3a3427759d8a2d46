"""From noise to data: solvers of one signature, in the coordinates z = x_t / alpha_t = x + r eps of every noise law.

A solver takes a denoiser (z, r) -> E[x | z], the start z, and the falling ratios r it visits, the last of them 0; it
returns z at the end. How often it asked the denoiser is what `Counted` counts.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import log, sqrt

import torch
from torch import Tensor

Denoise = Callable[[Tensor, float], Tensor]
"""Maps z (batch, *shape) and its ratio r of noise to signal to E[x | z], (batch, *shape)."""

Seen = Callable[[Tensor, float], None]
"""Is shown z and r at the start and after each step."""

Solver = Callable[[Denoise, Tensor, Sequence[float], Seen], Tensor]
"""Maps a denoiser, the start and the ratios to z at the last ratio."""


class Counted:
    """A denoiser that counts how often it is asked.

    Args:
        denoise: what it asks.
    """

    def __init__(self, denoise: Denoise) -> None:
        self.denoise = denoise
        self.evaluations = 0

    def __call__(self, z: Tensor, r: float) -> Tensor:
        """Count, and denoise."""
        self.evaluations += 1
        return self.denoise(z, r)


def unseen(z: Tensor, r: float) -> None:
    """Show it to nobody."""


def ddim(denoise: Denoise, z: Tensor, levels: Sequence[float], seen: Seen, *, eta: float) -> Tensor:
    """Step along q(z_s | z_t, x0), its noise scaled by eta: 0 is deterministic, 1 draws as the noise was added.

    z_s = x0 + sqrt(s² - v) (z_t - x0) / t + sqrt(v) eps, v = eta² s² (t² - s²) / t², of ratios s < t.

    Args:
        denoise: gives x0.
        z: (batch, *shape), at the first level.
        levels: falling ratios.
        seen: is shown each moment.
        eta: 0 or more.

    Returns:
        z at the last level.

    Reference: Denoising Diffusion Implicit Models, Jiaming Song et al., 2020, https://arxiv.org/abs/2010.02502
    """
    seen(z, levels[0])
    for t, s in pairwise(levels):
        z = _toward(denoise(z, t), z, t, s, eta)
        seen(z, s)
    return z


def _toward(x0: Tensor, z: Tensor, t: float, s: float, eta: float) -> Tensor:
    """Draw z_s from q(z_s | z_t, x0), its noise scaled by eta."""
    variance = min(eta * eta * s * s * (t * t - s * s) / (t * t), s * s)
    z = x0 + sqrt(s * s - variance) / t * (z - x0)
    return z + sqrt(variance) * torch.randn_like(z) if variance > 0 else z


def ancestral(denoise: Denoise, z: Tensor, levels: Sequence[float], seen: Seen) -> Tensor:
    """Draw each z_s from q(z_s | z_t, x0 = E[x | z_t]).

    Args:
        denoise: gives x0.
        z: (batch, *shape), at the first level.
        levels: falling ratios.
        seen: is shown each moment.

    Returns:
        z at the last level.

    Reference: Denoising Diffusion Probabilistic Models, Jonathan Ho et al., 2020, https://arxiv.org/abs/2006.11239
    """
    return ddim(denoise, z, levels, seen, eta=1.0)


def heun(denoise: Denoise, z: Tensor, levels: Sequence[float], seen: Seen, *, churn: float) -> Tensor:
    """Follow dz/dr = (z - x0) / r by Heun's rule, of second order; the last step, to 0, is Euler's.

    With churn (Algorithm 2) fresh noise lifts each level first, r <- r (1 + min(churn / steps, sqrt(2) - 1)).

    Args:
        denoise: gives x0.
        z: (batch, *shape), at the first level.
        levels: falling ratios.
        seen: is shown each moment.
        churn: S_churn, 0 or more; 0 is deterministic (Algorithm 1).

    Returns:
        z at the last level.

    Reference: Elucidating the Design Space of Diffusion-Based Generative Models, Tero Karras et al., 2022,
        https://arxiv.org/abs/2206.00364
    """
    seen(z, levels[0])
    lift = 1 + min(churn / (len(levels) - 1), sqrt(2) - 1)
    for r, s in pairwise(levels):
        t = r * lift
        if t > r:
            z = z + sqrt(t * t - r * r) * torch.randn_like(z)
        slope = (z - denoise(z, t)) / t
        end = z + (s - t) * slope
        if s > 0:
            end = z + (s - t) * 0.5 * (slope + (end - denoise(end, s)) / s)
        z = end
        seen(z, s)
    return z


def dpmpp_2m(denoise: Denoise, z: Tensor, levels: Sequence[float], seen: Seen, *, drawn: bool) -> Tensor:
    """Follow the same path, or draw along it, with x0 taken linear in log r over two steps: one evaluation a step.

    z_s = x0' + (s/t) (z_t - x0'), or drawn from q(z_s | z_t, x0'), with x0' that of the middle of the step. Either
    error is of second order: the path's, and that of the drawn variance.

    Args:
        denoise: gives x0.
        z: (batch, *shape), at the first level.
        levels: falling ratios.
        seen: is shown each moment.
        drawn: whether steps draw noise: SDE-DPM-Solver++(2M), else DPM-Solver++(2M).

    Returns:
        z at the last level.

    Reference: DPM-Solver++: Fast Solver for Guided Sampling of Diffusion Probabilistic Models, Cheng Lu et al., 2022,
        https://arxiv.org/abs/2211.01095
    """
    seen(z, levels[0])
    before: Tensor | None = None
    step_before = 0.0
    for t, s in pairwise(levels):
        x0 = denoise(z, t)
        middle, step = x0, log(t / s) if s > 0 else 0.0
        if before is not None and s > 0:  # the step to 0 has no end in log r: it is taken with x0 as it is
            middle = x0 + (x0 - before) * (step / (2 * step_before))
        z = _toward(middle, z, t, s, eta=float(drawn))
        before, step_before = x0, step
        seen(z, s)
    return z


def annealed_langevin(
    denoise: Denoise, z: Tensor, levels: Sequence[float], seen: Seen, *, inner_steps: int, step_size: float
) -> Tensor:
    """At each level move by z <- z + a/2 score + sqrt(a) eps, a = step_size r², several times; denoise at the end.

    Args:
        denoise: gives r² score + z.
        z: (batch, *shape), at the first level.
        levels: falling ratios.
        seen: is shown each moment.
        inner_steps: moves at each level.
        step_size: a / r², below 4; the scatter about a mode comes out 1 / (1 - step_size / 4) too wide in variance.

    Returns:
        z at the last level.

    Reference: Generative Modeling by Estimating Gradients of the Data Distribution, Yang Song and Stefano Ermon, 2019,
        https://arxiv.org/abs/1907.05600
    """
    seen(z, levels[0])
    for r in levels:
        if r == 0:
            z = denoise(z, levels[-2])
        else:
            for _ in range(inner_steps):
                z = z + step_size / 2 * (denoise(z, r) - z) + sqrt(step_size) * r * torch.randn_like(z)
        seen(z, r)
    return z


def inpaint(denoise: Denoise, z: Tensor, levels: Sequence[float], x: Tensor, known: Tensor, *, visits: int) -> Tensor:
    """Draw what is unknown by ancestral steps, what is known being set to x + r eps at every level.

    Each step is taken several times, noise lifting z to the level above in between: what was drawn and what was given
    come to agree.

    Args:
        denoise: gives x0.
        z: (batch, *shape), at the first level.
        levels: falling ratios.
        x: (batch, *shape), right where it is known.
        known: (batch, *shape), bool.
        visits: times each step is taken.

    Returns:
        z at the last level; x where it is known.

    Reference: RePaint: Inpainting using Denoising Diffusion Probabilistic Models, Andreas Lugmayr et al., 2022,
        https://arxiv.org/abs/2201.09865
    """
    z = torch.where(known, x + levels[0] * torch.randn_like(z), z)
    for t, s in pairwise(levels):
        for visit in range(visits if s > 0 else 1):
            if visit:
                z = z + sqrt(t * t - s * s) * torch.randn_like(z)
            z = ancestral(denoise, z, [t, s], unseen)
            z = torch.where(known, x + s * torch.randn_like(z), z)
    return z
