"""The convolutional generator and critic of DCGAN, for images of any size and number of channels."""

from collections.abc import Sequence
from math import sqrt

import torch
from torch import Tensor, nn

from gentool.nn.blocks import Upsample, one_hot
from gentool.nn.conv import pyramid
from gentool.nn.linear import Linear

SLOPE = 0.2
"""Of the critic's leaky ReLUs below 0."""

STD = 0.02
"""Standard deviation of all weights at the start, where batch norm looks after their scale."""


class ConvGenerator(nn.Module):
    """A linear map to a small image of features, then transposed convolutions of stride 2 up to the size of x.

    Args:
        latent_dim: of z.
        hidden_channels: channels of each stage in the critic's order, so used from the last to the first.
        shape: (channels, height, width) out.
        classes: number of classes of the labels it is given; 0 for none.
        batch_norm: whether each layer but the last is followed by batch norm.

    Reference: Unsupervised Representation Learning with Deep Convolutional Generative Adversarial Networks, Alec
        Radford, Luke Metz and Soumith Chintala, 2015, https://arxiv.org/abs/1511.06434
    """

    def __init__(
        self,
        latent_dim: int,
        hidden_channels: Sequence[int],
        shape: tuple[int, int, int],
        classes: int,
        batch_norm: bool,
    ) -> None:
        super().__init__()
        self.classes = classes
        sizes = pyramid((shape[1], shape[2]), len(hidden_channels))[::-1]
        widths = [*reversed(hidden_channels), shape[0]]
        self.base = (widths[0], *sizes[0])
        self.stem = Linear(latent_dim + classes, widths[0] * sizes[0][0] * sizes[0][1])
        layers: list[nn.Module] = []
        for inputs, outputs, size in zip(widths, widths[1:], sizes[1:], strict=False):
            layers += [nn.BatchNorm2d(inputs)] if batch_norm else []
            layers += [nn.ReLU(), Upsample(inputs, outputs, size, sqrt(2))]
        self.layers = nn.Sequential(*layers)
        if batch_norm:
            initialise(self)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Map (batch, latent_dim), and (batch,) labels where there are classes, to (batch, *shape)."""
        out: Tensor = self.layers(self.stem(labelled(z, y, self.classes)).unflatten(1, self.base))
        return out


class ConvFeatures(nn.Module):
    """Convolutions of stride 2: all of the critic but its last layer.

    Args:
        shape: (channels, height, width) of x.
        hidden_channels: channels of each stage; each halves the image's sides, rounding up.
        batch_norm: whether each layer but the first is followed by batch norm; never under a gradient penalty, which
            is of each example by itself.

    Attributes:
        features: numbers out.
    """

    def __init__(self, shape: tuple[int, int, int], hidden_channels: Sequence[int], batch_norm: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        widths = [shape[0], *hidden_channels]
        for i, (inputs, outputs) in enumerate(zip(widths, hidden_channels, strict=False)):
            layers.append(_strided(inputs, outputs))
            layers += [nn.BatchNorm2d(outputs)] if batch_norm and i else []
            layers.append(nn.LeakyReLU(SLOPE, inplace=True))
        self.layers = nn.Sequential(*layers, nn.Flatten())
        height, width = pyramid((shape[1], shape[2]), len(hidden_channels))[-1]
        self.features = widths[-1] * height * width
        if batch_norm:
            initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, *shape) to (batch, features)."""
        out: Tensor = self.layers(x)
        return out


def initialise(body: nn.Module) -> None:
    """Draw weights from N(0, 0.02²), those of batch norm from N(1, 0.02²), as the paper does."""
    for layer in body.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(layer.weight, std=STD)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.weight, 1.0, STD)


def labelled(z: Tensor, y: Tensor | None, classes: int) -> Tensor:
    """Return z (batch, latent_dim) with indicators of its labels y (batch,) beside it, where there are classes."""
    if not classes:
        return z
    assert y is not None, "a network with classes needs labels"
    return torch.cat([z, one_hot(y, classes, z)], 1)


def _strided(inputs: int, outputs: int) -> nn.Conv2d:
    """A 5x5 convolution that maps a side s to ceil(s / 2), weights N(0, 2 / (25 inputs))."""
    layer = nn.Conv2d(inputs, outputs, 5, 2, 2)
    nn.init.normal_(layer.weight, std=sqrt(2 / (25 * inputs)))
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer
