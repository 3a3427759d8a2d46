"""Group normalisation with a scale and a shift of each example's own: one pass of sums, one pass that applies them.

torch's kernel for images with channels last in bfloat16 takes up to twice as long as the convolution after it; sums
over places and a multiplication, in whichever order the memory has, take up to a third (docs/benchmarks.md).
"""

from math import gcd
from typing import Any

import torch
from torch import Tensor, nn

EPSILON = 1e-5
"""Added to a variance."""


def group_norm(x: Tensor, groups: int, scale: Tensor, shift: Tensor) -> Tensor:
    """Return scale (x - mean) / std + shift, mean and variance those of each example's groups of channels.

    It has a first derivative only.

    Args:
        x: (batch, channels, height, width).
        groups: of neighbouring channels; divides them.
        scale: (batch or 1, channels).
        shift: (batch or 1, channels).

    Returns:
        (batch, channels, height, width), in the dtype and memory format of x.
    """
    normed: Tensor = _GroupNorm.apply(x, groups, scale, shift)
    return normed


class _GroupNorm(torch.autograd.Function):
    """y = a x + b, with a and b of each example and channel; sums are added up in fp32."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, groups: int, scale: Tensor, shift: Tensor) -> Tensor:
        count = x.shape[1] // groups * x.shape[2] * x.shape[3]
        mean = _over_groups(_over_places(x), groups) / count
        variance = (_over_groups(_over_places(x * x), groups) / count - mean * mean).clamp(min=0)
        inverse = (variance + EPSILON).rsqrt()
        wide = scale.to(mean.dtype)
        a = inverse * wide
        ctx.save_for_backward(x, mean, inverse, wide)
        ctx.groups, ctx.count, ctx.dtypes = groups, count, (scale.dtype, shift.dtype)
        return torch.addcmul(_image(shift - mean * a, x), x, _image(a, x))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None, Tensor, Tensor]:
        x, mean, inverse, scale = ctx.saved_tensors
        by_shift = _over_places(g)
        by_scale = inverse * (_over_places(g * x) - mean * by_shift)
        p = _over_groups(scale * by_shift, ctx.groups) / ctx.count
        q = _over_groups(scale * by_scale, ctx.groups) / ctx.count
        # dx = inverse (scale g - p - q (x - mean) inverse)
        slope = -inverse * inverse * q
        rest = torch.addcmul(_image(-inverse * p - mean * slope, x), x, _image(slope, x))
        by_x = torch.addcmul(rest, g, _image(inverse * scale, x))
        if len(scale) == 1:
            by_scale, by_shift = by_scale.sum(0, keepdim=True), by_shift.sum(0, keepdim=True)
        return by_x, None, by_scale.to(ctx.dtypes[0]), by_shift.to(ctx.dtypes[1])


def _over_places(x: Tensor) -> Tensor:
    # torch sums bfloat16 in fp32 and rounds the sum; asked for a sum in fp32, it would first copy the whole of x.
    return x.sum((2, 3)).to(torch.promote_types(x.dtype, torch.float32))


def _over_groups(x: Tensor, groups: int) -> Tensor:
    """Sum (batch, channels) over each group, and return it for each channel of the group."""
    each = x.reshape(len(x), groups, -1)
    return each.sum(2, keepdim=True).expand_as(each).reshape(x.shape)


def _image(each: Tensor, x: Tensor) -> Tensor:
    return each.to(x.dtype)[:, :, None, None]


class GroupNorm(nn.Module):
    """Group normalisation whose scale and shift are learned, and moved by a condition where there is one.

    Args:
        channels: in and out; a group has at least four, and there are at most eight groups.
        condition: features of the condition; 0 for none.

    Reference: Group Normalization, Yuxin Wu and Kaiming He, 2018, https://arxiv.org/abs/1803.08494
    """

    def __init__(self, channels: int, condition: int) -> None:
        super().__init__()
        self.groups = gcd(8, max(1, channels // 4), channels)
        self.scale = nn.Parameter(torch.ones(1, channels))
        self.shift = nn.Parameter(torch.zeros(1, channels))
        self.modulate = nn.Linear(condition, 2 * channels, bias=False) if condition else None
        if self.modulate is not None:
            nn.init.normal_(self.modulate.weight, std=0.1 / condition**0.5)

    def forward(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        """Map (batch, channels, h, w), and a condition (batch, condition) where there is one, to the same shape."""
        scale, shift = self.scale, self.shift
        if self.modulate is not None:
            by_scale, by_shift = self.modulate(c).chunk(2, 1)
            scale, shift = scale + by_scale, shift + by_shift
        return group_norm(x, self.groups, scale, shift)
