"""Invertible linear maps of the channels, kept as triangular factors."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from gentool.probability.transforms.base import Transform


class InvertibleLinear(Transform):
    """z = W x at every position, W = P L (U + diag(±exp(log_scale))): a 1x1 convolution where x is an image.

    It starts as a random rotation. P and the signs stay, L (unit diagonal) and U (zero diagonal) learn, so log |det W|
    = sum log_scale costs nothing and W never becomes singular.

    Args:
        channels: size of axis 1.

    Reference: Glow: Generative Flow with Invertible 1x1 Convolutions, Diederik P. Kingma and Prafulla Dhariwal, 2018,
        https://arxiv.org/abs/1807.03039
    """

    permutation: Tensor
    sign: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        rotation = torch.linalg.qr(torch.randn(channels, channels))[0]
        permutation, lower, upper = torch.linalg.lu(rotation)
        diagonal = upper.diagonal()
        self.register_buffer("permutation", permutation)
        self.register_buffer("sign", diagonal.sign())
        self.lower = nn.Parameter(lower.tril(-1))
        self.upper = nn.Parameter(upper.triu(1))
        self.log_scale = nn.Parameter(diagonal.abs().log())

    def forward_and_log_det(self, x: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Mix the channels; each position adds sum log_scale to the log-determinant."""
        lower, upper = self._factors()
        return _apply(self.permutation @ (lower @ upper), x), self.log_scale.sum() * x.shape[2:].numel()

    def inverse_and_log_det(self, z: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Mix by the inverse of W, found in double precision by two triangular solves."""
        lower, upper = (factor.double() for factor in self._factors())
        right = torch.linalg.solve_triangular(lower, self.permutation.T.double(), upper=False, unitriangular=True)
        inverse = torch.linalg.solve_triangular(upper, right, upper=True)
        return _apply(inverse.to(z.dtype), z), -self.log_scale.sum() * z.shape[2:].numel()

    def _factors(self) -> tuple[Tensor, Tensor]:
        unit = torch.eye(len(self.sign), device=self.sign.device, dtype=self.lower.dtype)
        return self.lower.tril(-1) + unit, self.upper.triu(1) + torch.diag(self.sign * self.log_scale.exp())


def _apply(weight: Tensor, x: Tensor) -> Tensor:
    return functional.linear(x, weight) if x.dim() == 2 else functional.conv2d(x, weight[:, :, None, None])
