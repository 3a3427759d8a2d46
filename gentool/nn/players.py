"""The two players of a game: the generator's network and the critic's, that fit the data unless one is named."""

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor, nn

from gentool.nn.blocks import Activation, activation, gain
from gentool.nn.dcgan import ConvFeatures, ConvGenerator
from gentool.nn.linear import Linear
from gentool.nn.mlp import MLP
from gentool.nn.network import Network
from gentool.nn.resnet_gan import ResNetFeatures, ResNetGenerator
from gentool.nn.roles import kind_for
from gentool.nn.spectral import normalise_spectrally
from gentool.space import DataSpace

Kind = Literal["auto", "mlp", "conv", "resnet"]


class Critic(nn.Module):
    """f(x) = psi(phi(x)), and with labels f(x, y) = psi(phi(x)) + <v_y, phi(x)>.

    Args:
        phi: maps (batch, …) to (batch, features).
        features: of phi.
        classes: number of classes of the labels it is given; 0 for none.

    Reference: cGANs with Projection Discriminator, Takeru Miyato and Masanori Koyama, 2018,
        https://arxiv.org/abs/1802.05637
    """

    def __init__(self, phi: nn.Module, features: int, classes: int) -> None:
        super().__init__()
        self.phi = phi
        self.psi = Linear(features, 1, bias=False)  # an offset is nothing to a Wasserstein critic; phi has its own
        nn.init.normal_(self.psi.weight, std=features**-0.5)
        self.labels = nn.Embedding(classes, features) if classes else None
        if self.labels is not None:
            nn.init.normal_(self.labels.weight, std=features**-0.5)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Map (batch, …), and (batch,) labels where there are classes, to (batch,)."""
        phi = self.phi(x)
        out: Tensor = self.psi(phi).squeeze(1)
        if self.labels is not None:
            assert y is not None, "a network with classes needs labels"
            out = out + (self.labels(y) * phi).sum(1)
        return out


class _Bounded(nn.Module):
    """A generator's last touch: the shape of x, and integer levels within [-1, 1]."""

    def __init__(self, layers: nn.Module, space: DataSpace) -> None:
        super().__init__()
        self.layers = layers
        self.shape = space.shape
        self.is_bounded = space.levels is not None

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        out: Tensor = self.layers(z, y)
        out = out.reshape(len(z), *self.shape)
        return torch.tanh(out) if self.is_bounded else out


def generator(
    space: DataSpace,
    latent_dim: int,
    classes: int,
    *,
    kind: Kind = "mlp",
    hidden_features: Sequence[PositiveInt] = (256, 512),
    hidden_channels: Sequence[PositiveInt] = (64, 128),
    activation: Activation = "relu",
    batch_norm: bool = True,
) -> nn.Module:
    """Build the map from a latent, and its label where `classes` > 0, to x in model space.

    Args:
        space: the data's facts.
        latent_dim: of z.
        classes: number of classes of the labels given; 0 for none.
        kind: mlp, conv, resnet; auto: conv for images of 16 pixels and more, else mlp.
        hidden_features: mlp: units of each hidden layer.
        hidden_channels: conv, resnet: channels of each stage in the critic's order (the generator goes from last to
            first).
        activation: mlp only: relu, leaky_relu, elu, gelu, silu, softplus or tanh.
        batch_norm: conv only: whether layers are followed by batch norm; resnet always has it, mlp never.

    Returns:
        A network with forward(z (batch, latent_dim), y (batch,) or None) -> (batch, *space.shape), integer levels in
        [-1, 1]; of points always in fp32, since bf16 rounds coordinates to 1/256 of their size.

    Raises:
        UsageError: where the kind does not fit the data.
    """
    chosen = kind_for(space, kind, hidden_channels, "model.generator.kind")
    layers: nn.Module
    if chosen == "mlp":
        layers = MLP(latent_dim, hidden_features, space.dims, classes, activation)
    elif chosen == "conv":
        layers = ConvGenerator(latent_dim, hidden_channels, _image(space, 1), classes, batch_norm)
    else:
        layers = ResNetGenerator(latent_dim, hidden_channels, _image(space, 1), classes)
    body = _Bounded(layers, space)
    return Network(body) if space.is_image else body


def critic(
    space: DataSpace,
    packing: int,
    classes: int,
    *,
    kind: Kind = "mlp",
    hidden_features: Sequence[PositiveInt] = (512, 256),
    hidden_channels: Sequence[PositiveInt] = (64, 128),
    blocks: NonNegativeInt = 1,
    activation: Activation = "relu",
    batch_norm: bool = False,
    spectral_norm: bool = False,
) -> nn.Module:
    """Build the map from x in model space, and its label where `classes` > 0, to one number.

    Args:
        space: the data's facts.
        packing: examples seen together, one behind the other along the first axis of x.
        classes: number of classes of the labels given; 0 for none.
        kind: mlp, conv, resnet; auto: conv on images of 16 pixels and more, else mlp.
        hidden_features: mlp: units of each hidden layer.
        hidden_channels: conv, resnet: channels of each stage; each halves the image's sides, rounding up.
        blocks: resnet: residual blocks after the stages, 0 or more.
        activation: mlp only: relu, leaky_relu, elu, gelu, silu, softplus or tanh; conv has leaky ReLU, resnet ReLU.
        batch_norm: conv only: whether batch norm follows each layer but the first and the last.
        spectral_norm: whether every layer's spectral norm is held at 1.

    Returns:
        A network with forward(x (batch, packing * space.shape[0], *space.shape[1:]), y (batch,) or None) -> (batch,);
        of points always in fp32. It can be differentiated twice.

    Raises:
        UsageError: where the kind does not fit the data.
    """
    chosen = kind_for(space, kind, hidden_channels, "model.critic.kind")
    if chosen == "mlp":
        phi, features = _mlp_features(packing * space.dims, hidden_features, activation)
    elif chosen == "conv":
        phi = ConvFeatures(_image(space, packing), hidden_channels, batch_norm)
        features = phi.features
    else:
        phi = ResNetFeatures(_image(space, packing), hidden_channels, blocks)
        features = phi.features
    body = Critic(phi, features, classes)
    if spectral_norm:
        normalise_spectrally(body)
    return Network(body, twice=True) if space.is_image else body


def _mlp_features(inputs: int, hidden_features: Sequence[int], name: Activation) -> tuple[nn.Module, int]:
    if not hidden_features:
        return nn.Flatten(), inputs
    layers = MLP(inputs, hidden_features[:-1], hidden_features[-1], 0, name, gain(name))
    return nn.Sequential(layers, activation(name)), hidden_features[-1]


def _image(space: DataSpace, packing: int) -> tuple[int, int, int]:
    channels, height, width = space.shape
    return packing * channels, height, width
