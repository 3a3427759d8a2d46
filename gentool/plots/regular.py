"""Points at the middles of the cells of a regular grid."""

import torch
from torch import Tensor

from gentool.plots.points import Limits

CHUNK = 4096
"""Points evaluated at once: bounds the memory."""


def regular_points(box: Limits, resolution: int) -> Tensor:
    """Return (resolution ** d, d), the middles of the cells of a box, the first dimension fastest."""
    lines = [low + (high - low) * (torch.arange(resolution) + 0.5) / resolution for low, high in box]
    mesh = torch.meshgrid(*reversed(lines), indexing="ij")
    return torch.stack([axis.reshape(-1) for axis in reversed(mesh)], dim=1)
