"""The straight path x_t = (1 - t) x0 + t x1 from noise x0 ~ N(0, 1) to data x1, and what is done along it."""

from collections.abc import Callable
from math import sqrt
from typing import Literal

import torch
from torch import Tensor

TimeLaw = Literal["uniform", "logit_normal"]


def across(t: Tensor, x: Tensor) -> Tensor:
    """Return t (batch,) as (batch, 1, …, 1), which broadcasts to x."""
    return t.reshape(-1, *[1] * (x.dim() - 1))


def between(x0: Tensor, x1: Tensor, t: Tensor) -> Tensor:
    """Return (1 - t) x0 + t x1, t (batch,)."""
    return torch.lerp(x0, x1, across(t, x0))


def draw_times(n: int, law: TimeLaw, device: torch.device) -> Tensor:
    """Draw n times, spread evenly over the law's quantiles: each follows the law, and their mean hardly varies.

    Args:
        n: how many.
        law: uniform, or logit_normal: t = sigmoid(N(0, 1)), more often in the middle.
        device: where.

    Returns:
        (n,) in (0, 1).

    Reference: Scaling Rectified Flow Transformers for High-Resolution Image Synthesis, Patrick Esser et al., 2024,
        https://arxiv.org/abs/2403.03206
    """
    share = (torch.rand((), device=device) + torch.arange(n, device=device) / n) % 1
    return share if law == "uniform" else torch.special.ndtri(share.clamp(1e-6, 1 - 1e-6)).sigmoid()


def pair(x0: Tensor, x1: Tensor, y: Tensor | None) -> Tensor:
    """Reorder noise so that the sum of squared distances to the data is least, among the data of each label.

    Labels keep to themselves: noise that told them apart would not be what samples of one label start from.

    Args:
        x0: (batch, *shape) noise.
        x1: (batch, *shape) data.
        y: (batch,) labels, or None.

    Returns:
        (batch, *shape): x0 in the order of its partners.

    Reference: Improving and Generalizing Flow-Based Generative Models with Minibatch Optimal Transport, Alexander Tong
        et al., 2023, https://arxiv.org/abs/2302.00482
    """
    from scipy.optimize import linear_sum_assignment  # type: ignore[import-untyped]

    paired, labels = x0.clone(), torch.zeros(len(x0), device=x0.device) if y is None else y
    for label in set(labels.tolist()):
        rows = (labels == label).nonzero()[:, 0]
        cost = torch.cdist(x1[rows].flatten(1), x0[rows].flatten(1)).square()
        partner = torch.from_numpy(linear_sum_assignment(cost.cpu().numpy())[1]).to(x0.device)
        paired[rows] = x0[rows[partner]]
    return paired


def forget(x: Tensor, before: float, after: float) -> Tensor:
    """Draw x_before given x_after, before < after: the noise that takes the path back, a Gaussian.

    Args:
        x: (batch, *shape) at time `after`.
        before: in [0, 1).
        after: in (0, 1].

    Returns:
        (batch, *shape) at time `before`.
    """
    kept = before / after
    variance = (1 - before) ** 2 - (kept * (1 - after)) ** 2
    return kept * x + sqrt(variance) * torch.randn_like(x)


def inpaint(
    field: Callable[[Tensor, Tensor], Tensor], x0: Tensor, x1: Tensor, known: Tensor, *, steps: int, visits: int
) -> Tensor:
    """Draw what is unknown of x1: at each time the known part is on its own path, and the rest follows the field.

    Each step is taken `visits` times, going back to its start by fresh noise in between, so that both parts agree.

    Args:
        field: maps x (batch, *shape) and t (batch,) to the velocity.
        x0: (batch, *shape) noise.
        x1: (batch, *shape) data; only what is known is read.
        known: (batch, *shape) True where x1 is given.
        steps: of equal length, 1 or more.
        visits: times each is taken, 1 or more.

    Returns:
        (batch, *shape).

    Reference: RePaint: Inpainting using Denoising Diffusion Probabilistic Models, Andreas Lugmayr et al., 2022,
        https://arxiv.org/abs/2201.09865
    """
    x = x0
    for i in range(steps):
        t, later = i / steps, (i + 1) / steps
        for visit in range(visits):
            if visit:
                x = forget(x, t, later)
            given = t * x1 + (1 - t) * torch.randn_like(x)
            x = torch.where(known, given, x)
            x = x + field(x, x.new_full((len(x),), t)) / steps
    return torch.where(known, x1, x)
