"""Activation normalisation: a scale and a shift a channel, set once by the first data."""

import torch
from torch import Tensor, nn

from gentool.probability.transforms.base import Transform

SMALLEST = 1e-6
"""Least standard deviation that is divided by: a channel that never varies keeps a finite scale."""


class ActNorm(Transform):
    """z = (x + shift) exp(log_scale), by channel: of zero mean and unit variance on the data it was first shown.

    The data is shown by `fit_actnorm`, never by whatever happens to come first; that it was is saved.

    Args:
        channels: size of axis 1.

    Reference: Glow: Generative Flow with Invertible 1x1 Convolutions, Diederik P. Kingma and Prafulla Dhariwal, 2018,
        https://arxiv.org/abs/1807.03039
    """

    fitted: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(channels))
        self.log_scale = nn.Parameter(torch.zeros(channels))
        self.register_buffer("fitted", torch.tensor(False))
        self.fitting = False

    def forward_and_log_det(self, x: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Normalise; each of the positions of a channel adds log_scale to the log-determinant."""
        if self.fitting:
            self._fit(x)
        shift, log_scale = self._shaped(x)
        return (x + shift) * log_scale.exp(), self.log_scale.sum() * x.shape[2:].numel()

    def inverse_and_log_det(self, z: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Undo the scale, then the shift."""
        shift, log_scale = self._shaped(z)
        return z * (-log_scale).exp() - shift, -self.log_scale.sum() * z.shape[2:].numel()

    def _shaped(self, x: Tensor) -> tuple[Tensor, Tensor]:
        shape = (-1, *(1 for _ in x.shape[2:]))
        return self.shift.view(shape), self.log_scale.view(shape)

    @torch.no_grad()
    def _fit(self, x: Tensor) -> None:
        if self.fitted:
            return
        axes = [axis for axis in range(x.dim()) if axis != 1]
        std = x.std(axes, correction=0).clamp(min=SMALLEST)
        self.shift.copy_(-x.mean(axes))
        self.log_scale.copy_(-std.log())
        self.fitted.fill_(True)


@torch.no_grad()
def fit_actnorm(transform: Transform, x: Tensor, y: Tensor | None) -> None:
    """Show data to every ActNorm inside a transform, in the order data meets them; those already fitted keep theirs.

    Args:
        transform: what holds them.
        x: (batch, …) what the transform is given.
        y: (batch,) labels, or None.
    """
    layers = [module for module in transform.modules() if isinstance(module, ActNorm)]
    for layer in layers:
        layer.fitting = True
    try:
        transform.forward_and_log_det(x, y)
    finally:
        for layer in layers:
            layer.fitting = False
