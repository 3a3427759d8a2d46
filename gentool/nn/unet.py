"""A U-Net for images of any size: residual blocks at several scales, told how noisy their input is and its label."""

from collections.abc import Sequence
from itertools import pairwise
from math import sqrt

import torch
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor, nn
from torch.nn import functional

from gentool.errors import UsageError
from gentool.nn.blocks import Activation, Dropout, activation, conv, gain
from gentool.nn.condition import Condition
from gentool.nn.conv import pyramid
from gentool.nn.group_norm import GroupNorm
from gentool.nn.network import Network
from gentool.space import DataSpace

HEAD = 32
"""Channels of one head of attention."""


class UNet(nn.Module):
    """GroupNorm, activation, 3x3 convolution, twice a block; down to small images and up again, with skips between.

    Where a level of the way up meets its skip, each passes a 1x1 convolution and they are added, which is the 1x1
    convolution of the two concatenated. The last convolution of each block, and of the whole, starts at zero.

    Args:
        shape: (channels, height, width) of x.
        outputs: of what comes out; its last two are height and width.
        classes: number of classes of the labels given; 0 for none.
        hidden_channels: channels of each level; each but the first halves the sides, rounding up.
        blocks: residual blocks of each level, on the way down and on the way up.
        patch: side of the squares of pixels that become the channels of one place.
        attention: places of the longer side up to which they look at each other.
        activation_name: the activation's name.
        dropout: share of the features inside a block that are zeroed while training.

    Reference: Denoising Diffusion Probabilistic Models, Jonathan Ho, Ajay Jain and Pieter Abbeel, 2020,
        https://arxiv.org/abs/2006.11239
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        outputs: Sequence[int],
        classes: int,
        hidden_channels: Sequence[int],
        blocks: int,
        patch: int,
        attention: int,
        activation_name: Activation,
        dropout: float,
    ) -> None:
        super().__init__()
        self.outputs, self.patch = tuple(outputs), patch
        first = hidden_channels[0]
        features = 4 * first
        sizes = pyramid((-(-shape[1] // patch), -(-shape[2] // patch)), len(hidden_channels) - 1)
        self.condition = Condition(classes, features, activation_name)
        self.stem = conv(shape[0] * patch**2, first, 1, 1.0)

        def level(channels: int, size: tuple[int, int]) -> _Level:
            looks = max(size) <= attention
            return _Level(Block(channels, features, looks, activation_name, dropout) for _ in range(blocks))

        self.down = nn.ModuleList(level(c, size) for c, size in zip(hidden_channels, sizes, strict=True))
        self.up = nn.ModuleList(level(c, size) for c, size in zip(hidden_channels, sizes, strict=True))
        pairs = list(pairwise(hidden_channels))
        self.shrink = nn.ModuleList(conv(a, b, 2, 1.0) for a, b in pairs)
        self.enlarge = nn.ModuleList(_enlarge(b, a) for a, b in pairs)
        self.skip = nn.ModuleList(_pointwise(a, a, sqrt(0.5)) for a, _ in pairs)
        self.norm = GroupNorm(first, 0)
        self.activation = activation(activation_name)
        channels = torch.Size(self.outputs[:-2]).numel()
        self.last = conv(first, channels * patch**2, 1, 0.0)

    def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        """Map x (batch, *shape), t (batch,) and labels (batch,), where there are classes, to (batch, *outputs)."""
        c = self.condition(t, y)
        height, width = x.shape[2:]
        if self.patch > 1:
            x = functional.pad(x, (0, -width % self.patch, 0, -height % self.patch), mode="replicate")
            x = functional.pixel_unshuffle(x, self.patch)
        h = self.stem(x)
        skips: list[Tensor] = []
        for i, level in enumerate(self.down):
            h = level(self.shrink[i - 1](h) if i else h, c)
            skips.append(h)
        for i in reversed(range(len(self.up))):
            if i + 1 < len(self.up):
                skip = skips[i]
                h = self.enlarge[i](h)[..., : skip.shape[2], : skip.shape[3]] + self.skip[i](skip)
            h = self.up[i](h, c)
        out: Tensor = self.last(self.activation(self.norm(h)))
        if self.patch > 1:
            out = functional.pixel_shuffle(out, self.patch)[..., :height, :width]
        return out.reshape(len(x), *self.outputs)


def unet(
    space: DataSpace,
    outputs_per_dim: int,
    classes: int,
    *,
    hidden_channels: Sequence[PositiveInt] = (32, 64, 64),
    blocks: PositiveInt = 1,
    patch: PositiveInt = 2,
    attention: NonNegativeInt = 8,
    activation: Activation = "silu",
    dropout: Dropout = 0.0,
) -> Network:
    """Build a U-Net for noisy images, told how noisy they are, and their label where `classes` > 0.

    Args:
        space: the data's facts.
        outputs_per_dim: numbers for each dimension of x.
        classes: number of classes of the labels given; 0 for none. The label `classes` says that none is given.
        hidden_channels: channels of each level, 1 or more levels; each but the first halves the sides, rounding up.
        blocks: residual blocks of each level, on the way down and on the way up.
        patch: side of the squares of pixels that become the channels of one position, 1 or more; 2 is four times as
            fast as 1, and leaves a grid of squares in what is finely drawn.
        attention: positions of a level's longer side up to which it has self-attention; 0: nowhere.
        activation: relu, leaky_relu, elu, gelu, silu, softplus or tanh.
        dropout: fraction of the features inside a block that are zeroed while training, 0 to below 1.

    Returns:
        A network with forward(x (batch, *space.shape) float, t (batch,) float of order 1, y (batch,) or None)
        -> (batch, *space.shape), or (batch, outputs_per_dim, *space.shape) where that is more than 1. It gives zeros to
        begin with.

    Raises:
        UsageError: where the data are not images, or there is no level.
    """
    if not space.is_image:
        raise UsageError(f"denoiser=unet needs images, and x has shape {space.shape}: use mlp or dit")
    if not hidden_channels:
        raise UsageError("denoiser.hidden_channels=[]: give at least one level, such as [32,64]")
    outputs = space.shape if outputs_per_dim == 1 else (outputs_per_dim, *space.shape)
    channels, height, width = space.shape
    shape = (channels, height, width)
    return Network(UNet(shape, outputs, classes, hidden_channels, blocks, patch, attention, activation, dropout))


class _Level(nn.ModuleList):
    """Blocks, one after the other."""

    def forward(self, h: Tensor, c: Tensor) -> Tensor:
        for block in self:
            h = block(h, c)
        return h


class Block(nn.Module):
    """h = x + conv(dropout(act(norm(conv(act(norm(x)))))), the second norm under the condition; then attention.

    Args:
        channels: in and out.
        condition: features of the condition.
        attention: whether places look at each other.
        activation_name: the activation's name.
        dropout: share of the features that are zeroed while training.
    """

    def __init__(
        self, channels: int, condition: int, attention: bool, activation_name: Activation, dropout: float
    ) -> None:
        super().__init__()
        self.norms = nn.ModuleList([GroupNorm(channels, 0), GroupNorm(channels, condition)])
        self.convs = nn.ModuleList([_unbiased(channels, gain(activation_name)), _unbiased(channels, 0.0)])
        self.activation = activation(activation_name)
        self.dropout = nn.Dropout(dropout)
        self.attention = Attention(channels) if attention else None

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        """Map x (batch, channels, h, w) and a condition (batch, condition) to the shape of x."""
        h = self.convs[0](self.activation(self.norms[0](x)))
        h = self.activation(self.norms[1](h, c))
        out: Tensor = x + self.convs[1](self.dropout(h))
        return out if self.attention is None else self.attention(out)


class Attention(nn.Module):
    """x + W softmax(q k / sqrt(d)) v, with q, k and v of the normalised places of the whole image.

    Args:
        channels: in and out; a head has `HEAD` of them where that divides them.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.heads = max(1, channels // HEAD) if channels % HEAD == 0 else 1
        self.norm = GroupNorm(channels, 0)
        self.qkv = _pointwise(channels, 3 * channels, 1.0)
        self.out = _pointwise(channels, channels, 0.0)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, channels, h, w) to the same."""
        batch, channels, height, width = x.shape
        places = self.qkv(self.norm(x)).permute(0, 2, 3, 1).reshape(batch, height * width, 3, self.heads, -1)
        q, k, v = places.permute(2, 0, 3, 1, 4)  # (batch, heads, places, features) each
        # Written out: the places are few, and torch's fused kernel took 7 times as long in bfloat16.
        weights = torch.softmax(q @ k.transpose(-1, -2) / sqrt(q.shape[-1]), -1)
        seen = weights.to(v.dtype) @ v
        image = seen.transpose(1, 2).reshape(batch, height, width, channels).permute(0, 3, 1, 2)
        out: Tensor = x + self.out(image)
        return out


def _unbiased(channels: int, gain: float) -> nn.Conv2d:
    """A 3x3 convolution without an offset, which the norm after it would take away."""
    layer = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
    nn.init.normal_(layer.weight, std=gain / sqrt(9 * channels))
    return layer


def _pointwise(inputs: int, outputs: int, gain: float) -> nn.Conv2d:
    layer = nn.Conv2d(inputs, outputs, 1, bias=False)
    nn.init.normal_(layer.weight, std=gain / sqrt(inputs))
    return layer


def _enlarge(inputs: int, outputs: int) -> nn.ConvTranspose2d:
    """Each place becomes 2x2 places, each by a matrix of its own."""
    layer = nn.ConvTranspose2d(inputs, outputs, 2, 2)
    nn.init.normal_(layer.weight, std=sqrt(0.5 / inputs))
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer
