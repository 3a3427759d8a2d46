"""A residual MLP as the network of diffusion and flow matching: for points, and for images as flat vectors."""

from collections.abc import Sequence
from math import sqrt

import torch
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor, nn

from gentool.errors import UsageError
from gentool.nn.blocks import Activation, Dropout, activation, gain, linear
from gentool.nn.condition import Condition, Sinusoids
from gentool.nn.network import Network
from gentool.space import DataSpace


class ResidualMLP(nn.Module):
    """Residual blocks of two linear layers; the condition scales and shifts what each block sees.

    Args:
        shape: of x.
        outputs: of what comes out.
        classes: number of classes of the labels given; 0 for none.
        hidden_features: features of each block.
        octaves: sines and cosines of every number of x at 1, 2, 4, … half turns a unit that are seen beside it.
        activation_name: the activation's name.
        dropout: share of the features inside a block that are zeroed while training.

    Reference: FiLM: Visual Reasoning with a General Conditioning Layer, Ethan Perez et al., 2017,
        https://arxiv.org/abs/1709.07871
    """

    def __init__(
        self,
        shape: Sequence[int],
        outputs: Sequence[int],
        classes: int,
        hidden_features: Sequence[int],
        octaves: int,
        activation_name: Activation,
        dropout: float,
    ) -> None:
        super().__init__()
        self.outputs = tuple(outputs)
        dims = int(torch.Size(shape).numel())
        widths = [hidden_features[0], *hidden_features]
        self.condition = Condition(classes, widths[0], activation_name)
        self.waves = Sinusoids(octaves, torch.pi, torch.pi * 2 ** (octaves - 1)) if octaves else None
        self.first = linear(dims * (1 + 2 * octaves), widths[0], 1.0)
        blocks = len(hidden_features)
        self.blocks = nn.ModuleList(
            _Block(a, b, widths[0], activation_name, dropout, 1 / sqrt(blocks))
            for a, b in zip(widths, hidden_features, strict=False)
        )
        self.last = nn.Sequential(
            nn.LayerNorm(widths[-1]), activation(activation_name), linear(widths[-1], torch.Size(outputs).numel(), 0.0)
        )

    def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        """Map x (batch, *shape), t (batch,) and labels (batch,), where there are classes, to (batch, *outputs)."""
        c = self.condition(t, y)
        x = x.flatten(1)
        if self.waves is not None:
            x = torch.cat([x, self.waves(x).flatten(1)], 1)
        h = self.first(x)
        for block in self.blocks:
            h = block(h, c)
        out: Tensor = self.last(h)
        return out.reshape(len(x), *self.outputs)


class _Block(nn.Module):
    """skip(h) + W2 dropout(act(W1 (norm(h) (1 + scale(c)) + shift(c))))."""

    def __init__(
        self, inputs: int, outputs: int, condition: int, activation_name: Activation, dropout: float, scale: float
    ) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(inputs, elementwise_affine=False)
        self.modulate = linear(condition, 2 * inputs, 0.0)
        self.layers = nn.Sequential(
            linear(inputs, outputs, gain(activation_name)),
            activation(activation_name),
            nn.Dropout(dropout),
            linear(outputs, outputs, scale),
        )
        self.skip: nn.Module = nn.Identity() if inputs == outputs else linear(inputs, outputs, 1.0)

    def forward(self, h: Tensor, c: Tensor) -> Tensor:
        scale, shift = self.modulate(c).chunk(2, 1)
        normed = self.norm(h)
        out: Tensor = self.skip(h) + self.layers(torch.addcmul(normed + shift, normed, scale))
        return out


def mlp(
    space: DataSpace,
    outputs_per_dim: int,
    classes: int,
    *,
    hidden_features: Sequence[PositiveInt] = (256, 256, 256),
    octaves: NonNegativeInt = 6,
    activation: Activation = "silu",
    dropout: Dropout = 0.0,
) -> nn.Module:
    """Build a residual MLP for noisy data of any shape, told how noisy it is, and its label where `classes` > 0.

    Args:
        space: the data's facts.
        outputs_per_dim: numbers for each dimension of x.
        classes: number of classes of the labels given; 0 for none. The label `classes` says that none is given.
        hidden_features: features of each residual block, 1 or more blocks.
        octaves: sines and cosines of every number of x at 1, 2, 4, … half turns a unit that are inputs beside it, 0 or
            more; a network of few layers needs them for narrow densities.
        activation: relu, leaky_relu, elu, gelu, silu, softplus or tanh.
        dropout: fraction of the features inside a block that are zeroed while training, 0 to below 1.

    Returns:
        A network with forward(x (batch, *space.shape) float, t (batch,) float of order 1, y (batch,) or None)
        -> (batch, *space.shape), or (batch, outputs_per_dim, *space.shape) where that is more than 1. It gives zeros to
        begin with. For images it is a `Network`; for points it always runs in fp32, since bfloat16 cannot resolve
        their sharpest edges.

    Raises:
        UsageError: where there is no block.
    """
    if not hidden_features:
        raise UsageError("denoiser.hidden_features=[]: give at least one block, such as [128,128]")
    outputs = space.shape if outputs_per_dim == 1 else (outputs_per_dim, *space.shape)
    body = ResidualMLP(space.shape, outputs, classes, hidden_features, octaves, activation, dropout)
    return Network(body) if space.is_image else body
