"""DiT: a transformer over patches of an image, or over the numbers of a vector, told how noisy its input is."""

from collections.abc import Sequence
from math import pi

import torch
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor, nn
from torch.nn import functional

from gentool.errors import UsageError
from gentool.nn.blocks import Dropout
from gentool.nn.condition import Condition, Sinusoids
from gentool.nn.network import Network
from gentool.space import DataSpace


class DiT(nn.Module):
    """Transformer blocks whose normalisation is scaled, shifted and gated by the condition (adaLN-zero).

    h = h + gate1(c) attention(modulate1(norm(h), c)); h = h + gate2(c) mlp(modulate2(norm(h), c)), where
    modulate(h, c) = h (1 + scale(c)) + shift(c). Gates start at zero, so that each block is the identity, and so does
    the last layer, so that the output is zero.

    Args:
        tokens: makes tokens of x and x of tokens: `Patches` or `Numbers`.
        classes: number of classes of the labels given; 0 for none.
        width: features of a token.
        depth: blocks.
        heads: of the attention; they divide `width`.
        dropout: fraction of the features that are zeroed while training.

    Reference: Scalable Diffusion Models with Transformers, William Peebles and Saining Xie, 2023,
        https://arxiv.org/abs/2212.09748
    """

    def __init__(
        self, tokens: "Patches | Numbers", classes: int, width: int, depth: int, heads: int, dropout: float
    ) -> None:
        super().__init__()
        self.tokens = tokens
        self.condition = Condition(classes, width, "silu")
        self.blocks = nn.ModuleList(Block(width, heads, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulation = _zero(nn.Linear(width, 2 * width))

    def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        """Map x (batch, *shape), t (batch,) and labels (batch,), where there are classes, to (batch, *outputs)."""
        c = self.condition(t, y)
        h = self.tokens.split(x)
        for block in self.blocks:
            h = block(h, c)
        shift, scale = self.modulation(c).unsqueeze(1).chunk(2, -1)
        return self.tokens.join(self.norm(h) * (1 + scale) + shift, x)


class Block(nn.Module):
    """Self-attention and an MLP of four times the width, both behind adaLN-zero.

    Args:
        width: features of a token.
        heads: of the attention.
        dropout: fraction of the features that are zeroed while training.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulation = _zero(nn.Linear(width, 6 * width))
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU("tanh"), nn.Dropout(dropout), nn.Linear(4 * width, width)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, h: Tensor, c: Tensor) -> Tensor:
        """Map tokens (batch, tokens, width) and a condition (batch, width) to tokens."""
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation(c).unsqueeze(1).chunk(6, -1)
        h = h + gate1 * self.dropout(self._attend(self.norm(h) * (1 + scale1) + shift1))
        out: Tensor = h + gate2 * self.dropout(self.mlp(self.norm(h) * (1 + scale2) + shift2))
        return out

    def _attend(self, h: Tensor) -> Tensor:
        batch, tokens, width = h.shape
        q, k, v = self.qkv(h).reshape(batch, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(q, k, v)
        out: Tensor = self.out(mixed.transpose(1, 2).reshape(batch, tokens, width))
        return out


class Patches(nn.Module):
    """Squares of an image as tokens, with sines and cosines of their row and column added.

    Args:
        shape: (channels, height, width) of x; sides that the patch does not divide are padded.
        outputs: of what comes out; its last two are height and width.
        width: features of a token, a multiple of 4.
        patch: side of the squares.
    """

    positions: Tensor

    def __init__(self, shape: tuple[int, int, int], outputs: Sequence[int], width: int, patch: int) -> None:
        super().__init__()
        self.outputs, self.patch = tuple(outputs), patch
        self.rows, self.columns = -(-shape[1] // patch), -(-shape[2] // patch)
        self.first = nn.Linear(shape[0] * patch**2, width)
        self.last = _zero(nn.Linear(width, torch.Size(self.outputs[:-2]).numel() * patch**2))
        self.register_buffer("positions", _grid(self.rows, self.columns, width), persistent=False)

    def split(self, x: Tensor) -> Tensor:
        """Map images (batch, channels, height, width) to tokens (batch, rows * columns, width)."""
        height, width = x.shape[2:]
        x = functional.pad(x, (0, -width % self.patch, 0, -height % self.patch), mode="replicate")
        h: Tensor = self.first(functional.pixel_unshuffle(x, self.patch).flatten(2).transpose(1, 2))
        return h + self.positions

    def join(self, h: Tensor, x: Tensor) -> Tensor:
        """Map tokens to (batch, *outputs), cropped to the size of x."""
        out = self.last(h).transpose(1, 2).unflatten(2, (self.rows, self.columns))
        out = functional.pixel_shuffle(out, self.patch)[..., : x.shape[2], : x.shape[3]]
        return out.reshape(len(x), *self.outputs)


class Numbers(nn.Module):
    """Each number of a vector as a token: the number, its sines and cosines, and a learned vector for its position.

    Args:
        dims: numbers of x.
        outputs: of what comes out; its last is `dims`.
        width: features of a token.
        octaves: sines and cosines of each number at 1, 2, 4, … half turns a unit; narrow densities need them.
    """

    def __init__(self, dims: int, outputs: Sequence[int], width: int, octaves: int) -> None:
        super().__init__()
        self.outputs = tuple(outputs)
        self.waves = Sinusoids(octaves, pi, pi * 2 ** (octaves - 1)) if octaves else None
        self.first = nn.Linear(1 + 2 * octaves, width)
        self.positions = nn.Parameter(torch.randn(dims, width) * 0.02)
        self.last = _zero(nn.Linear(width, torch.Size(self.outputs[:-1]).numel()))

    def split(self, x: Tensor) -> Tensor:
        """Map vectors (batch, dims) to tokens (batch, dims, width)."""
        x = x.unsqueeze(-1)
        h: Tensor = self.first(x if self.waves is None else torch.cat([x, self.waves(x.squeeze(-1))], -1))
        return h + self.positions

    def join(self, h: Tensor, x: Tensor) -> Tensor:
        """Map tokens to (batch, *outputs)."""
        out: Tensor = self.last(h).transpose(1, 2).reshape(len(x), *self.outputs)
        return out


def dit(
    space: DataSpace,
    outputs_per_dim: int,
    classes: int,
    *,
    width: PositiveInt = 128,
    depth: PositiveInt = 4,
    heads: PositiveInt = 4,
    patch: PositiveInt = 2,
    octaves: NonNegativeInt = 6,
    dropout: Dropout = 0.0,
) -> nn.Module:
    """Build a DiT for noisy images or points: a transformer over patches, or over the numbers of a vector.

    Args:
        space: the data's facts.
        outputs_per_dim: numbers for each dimension of x.
        classes: number of classes of the labels given; 0 for none. The label `classes` says that none is given.
        width: features of a token, a multiple of 4 and of `heads`.
        depth: transformer blocks, 1 or more.
        heads: heads of the attention, 1 or more.
        patch: images: side of the square of pixels that is one token; time grows with the fourth power of its inverse.
        octaves: points: sines and cosines of each number at 1, 2, 4, … half turns a unit; narrow densities need them.
        dropout: fraction of the features that are zeroed while training, 0 to below 1.

    Returns:
        A network with forward(x (batch, *space.shape), t (batch,), y (batch,) or None) -> (batch, *space.shape), or
        (batch, outputs_per_dim, *space.shape) where that is more than 1. It gives zeros to begin with. For points it
        always runs in fp32.

    Raises:
        UsageError: where the width is not a multiple of 4 and of `heads`.
    """
    if width % heads or width % 4:
        raise UsageError(f"denoiser.width={width}: expected a multiple of 4 and of heads={heads}")
    outputs = space.shape if outputs_per_dim == 1 else (outputs_per_dim, *space.shape)
    if not space.is_image:
        return DiT(Numbers(space.dims, outputs, width, octaves), classes, width, depth, heads, dropout)
    channels, rows, columns = space.shape
    tokens = Patches((channels, rows, columns), outputs, width, patch)
    return Network(DiT(tokens, classes, width, depth, heads, dropout))


def _grid(rows: int, columns: int, width: int) -> Tensor:
    """Return (rows * columns, width): sines and cosines of the row in one half, of the column in the other."""
    frequencies = 10000.0 ** -(torch.arange(width // 4) / (width // 4))

    def waves(n: int) -> Tensor:
        angle = torch.arange(n).unsqueeze(-1) * frequencies
        return torch.cat([angle.sin(), angle.cos()], -1)

    row = waves(rows).unsqueeze(1).expand(rows, columns, width // 2)
    column = waves(columns).unsqueeze(0).expand(rows, columns, width // 2)
    return torch.cat([row, column], -1).flatten(0, 1)


def _zero(layer: nn.Linear) -> nn.Linear:
    """Set a layer's weights and biases to zero."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
