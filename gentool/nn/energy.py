"""The network of an energy: a smooth function from x, and a label, to one number."""

from collections.abc import Sequence
from math import pi, prod
from typing import Literal

import torch
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor, nn

from gentool.nn.blocks import Activation, activation, conv, gain
from gentool.nn.condition import Sinusoids
from gentool.nn.conv import pyramid
from gentool.nn.mlp import MLP
from gentool.nn.network import Network
from gentool.nn.players import Critic
from gentool.nn.resnet import ResidualBlock
from gentool.nn.roles import kind_for
from gentool.nn.spectral import normalise_spectrally
from gentool.space import DataSpace

Kind = Literal["auto", "mlp", "conv", "resnet"]


def energy(
    space: DataSpace,
    classes: int,
    *,
    kind: Kind = "auto",
    hidden_features: Sequence[PositiveInt] = (128,),
    hidden_channels: Sequence[PositiveInt] = (32, 64, 128),
    blocks: NonNegativeInt = 1,
    octaves: NonNegativeInt = 0,
    activation: Activation = "silu",
    spectral_norm: bool = False,
) -> nn.Module:
    """Build the map from x in model space, and its label where `classes` > 0, to one number.

    Args:
        space: the data's facts.
        classes: number of classes of the labels given; 0 for none.
        kind: mlp, conv, resnet (residual blocks at every stage); auto: conv on images of 16 pixels and more, else mlp.
        hidden_features: mlp: units of each layer; conv, resnet: of each layer after the stages.
        hidden_channels: conv, resnet: channels of each stage; each halves the image's sides.
        blocks: resnet: residual blocks of each stage, 0 or more.
        octaves: mlp: sines and cosines of x at 1, 2, 4, … half turns per unit as further inputs; a few for narrow
            modes.
        activation: silu, elu, gelu, softplus, tanh (smooth, as chains follow the gradient), relu or leaky_relu.
        spectral_norm: whether every layer's spectral norm is held at 1.

    Returns:
        A network with forward(x (batch, *space.shape), y (batch,) or None) -> (batch,); of points always in fp32, since
        bf16 rounds coordinates to 1/256 of their size.

    Raises:
        UsageError: where the kind does not fit the data.
    """
    chosen = kind_for(space, kind, hidden_channels, "model.network.kind")
    if chosen == "mlp":
        phi, features = _of_vectors(space.dims, hidden_features, octaves, activation)
    else:
        each = blocks if chosen == "resnet" else 0
        phi, features = _of_images(space.shape, hidden_channels, each, hidden_features, activation)
    body = Critic(phi, features, classes)
    if spectral_norm:
        normalise_spectrally(body)
    return Network(body, twice=True) if space.is_image else body


class _Waves(nn.Module):
    """x, and sin and cos of each of its numbers at octaves: wells much narrower than the data are soon learned."""

    def __init__(self, octaves: int) -> None:
        super().__init__()
        self.waves = Sinusoids(octaves, pi, pi * 2 ** (octaves - 1)) if octaves else None

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        return x if self.waves is None else torch.cat([x, self.waves(x).flatten(1)], 1)


def _of_vectors(dims: int, hidden_features: Sequence[int], octaves: int, name: Activation) -> tuple[nn.Sequential, int]:
    inputs = dims * (1 + 2 * octaves)
    if not hidden_features:
        return nn.Sequential(_Waves(octaves)), inputs
    layers = MLP(inputs, hidden_features[:-1], hidden_features[-1], 0, name, gain(name))
    return nn.Sequential(_Waves(octaves), layers, activation(name)), hidden_features[-1]


def _of_images(
    shape: Sequence[int],
    hidden_channels: Sequence[int],
    blocks: int,
    hidden_features: Sequence[int],
    name: Activation,
) -> tuple[nn.Sequential, int]:
    layers: list[nn.Module] = []
    for inputs, outputs in zip([shape[0], *hidden_channels], hidden_channels, strict=False):
        layers += [conv(inputs, outputs, 2, gain(name))]
        layers += [ResidualBlock(outputs, name, 1.0) for _ in range(blocks)]
        layers += [activation(name)]
    features = prod(pyramid((shape[1], shape[2]), len(hidden_channels))[-1]) * hidden_channels[-1]
    layers += [nn.Flatten()]
    if hidden_features:
        layers += [MLP(features, hidden_features[:-1], hidden_features[-1], 0, name, gain(name)), activation(name)]
        features = hidden_features[-1]
    return nn.Sequential(*layers), features
