"""Planes and walks in a space of codes."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Plane:
    """The plane of the first two principal components.

    Attributes:
        mean: (d,) of the points.
        axes: (2, d), orthonormal; the second is zero where d = 1.
        deviations: (2,) standard deviation of the points along each axis.
        share: of the variance that lies in the plane, in [0, 1].
    """

    mean: Tensor
    axes: Tensor
    deviations: Tensor
    share: float

    def project(self, points: Tensor) -> Tensor:
        """Return (n, 2), the coordinates in the plane of points (n, d)."""
        return (points.flatten(1) - self.mean) @ self.axes.T

    def lift(self, coordinates: Tensor) -> Tensor:
        """Return (n, d), the points at coordinates (n, 2) of the plane."""
        return self.mean + coordinates @ self.axes

    def describe(self) -> str:
        """Say which plane it is."""
        return f"first two principal components of {len(self.mean)} dimensions, {self.share:.0%} of the variance"


def principal_plane(points: Tensor) -> Plane:
    """Fit the plane of the first two principal components.

    Args:
        points: (n, ...) floats, n > 1; all but the first axis are flattened.

    Returns:
        The plane; each axis points where its largest entry is positive, so the picture does not flip between runs.
    """
    flat = points.detach().flatten(1).double().cpu()
    mean = flat.mean(0)
    centred = flat - mean
    if flat.shape[1] == 1:
        axes = torch.tensor([[1.0], [0.0]], dtype=torch.float64)
    elif len(flat) > flat.shape[1]:
        axes = torch.linalg.eigh(centred.T @ centred).eigenvectors.flip(1)[:, :2].T
    else:
        axes = torch.linalg.svd(centred, full_matrices=False).Vh[:2]
    axes = axes * torch.where(axes.gather(1, axes.abs().argmax(1, keepdim=True)) < 0, -1.0, 1.0)
    along = centred @ axes.T
    deviations = along.square().mean(0).sqrt()
    share = float(along.square().sum() / centred.square().sum().clamp(min=1e-30))
    return Plane(mean.float(), axes.float(), deviations.float(), share)


def quantile_grid(columns: int, rows: int) -> Tensor:
    """Return the quantiles of N(0, I) at the middles of equal shares of its mass, read row by row from the top.

    Args:
        columns: quantiles along the first axis, rising to the right.
        rows: quantiles along the second axis, rising upwards.

    Returns:
        (rows * columns, 2).
    """
    first, second = (torch.special.ndtri((torch.arange(k) + 0.5) / k) for k in (columns, rows))
    down, across = torch.meshgrid(second.flip(0), first, indexing="ij")
    return torch.stack([across, down], dim=-1).reshape(-1, 2)


def drawn_grid(draws: Tensor, columns: int, rows: int) -> Tensor:
    """Return the quantiles of each axis of some draws at the middles of equal shares of them, laid out as a grid.

    Args:
        draws: (n, 1 or 2), of a density whose quantiles are not known.
        columns: quantiles of the first axis, rising to the right.
        rows: quantiles of the second axis, rising upwards; 1 where there is none.

    Returns:
        (rows * columns, 1 or 2), read row by row from the top.
    """
    shares = [(torch.arange(k) + 0.5) / k for k in (columns, rows)]
    first = draws[:, 0].quantile(shares[0].to(draws))
    if draws.shape[1] == 1:
        return first[:, None]
    down, across = torch.meshgrid(draws[:, 1].quantile(shares[1].to(draws)).flip(0), first, indexing="ij")
    return torch.stack([across, down], dim=-1).reshape(-1, 2)


def lerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Walk straight: (1 - t) a + t b.

    Args:
        a: (rows, ...) starts.
        b: (rows, ...) ends.
        t: (steps,) in [0, 1].

    Returns:
        (rows, steps, ...).
    """
    weight = t.reshape(1, -1, *[1] * (a.ndim - 1))
    return (1 - weight) * a[:, None] + weight * b[:, None]


def slerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Walk along the great arc: sin((1 - t) w) / sin(w) a + sin(t w) / sin(w) b, w the angle between a and b.

    Between draws of a high-dimensional normal it keeps the length such draws have; a straight line cuts the corner.

    Reference: Animating Rotation with Quaternion Curves, Ken Shoemake, 1985, https://doi.org/10.1145/325165.325242

    Args:
        a: (rows, ...) starts.
        b: (rows, ...) ends.
        t: (steps,) in [0, 1].

    Returns:
        (rows, steps, ...); straight where a and b are (anti)parallel.
    """
    flat_a, flat_b = a.flatten(1), b.flatten(1)
    cosine = torch.nn.functional.cosine_similarity(flat_a, flat_b, dim=1).clamp(-1, 1)
    angle = torch.acos(cosine)[:, None, None]
    sine = torch.sin(angle)
    weight = t.reshape(1, -1, 1)
    arc = torch.sin((1 - weight) * angle) / sine * flat_a[:, None] + torch.sin(weight * angle) / sine * flat_b[:, None]
    walk = torch.where(sine < 1e-4, lerp(flat_a, flat_b, t), arc)
    return walk.reshape(len(a), len(t), *a.shape[1:])
