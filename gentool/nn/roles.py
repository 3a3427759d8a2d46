"""One function a role: the network that fits the data, unless one is named."""

from collections.abc import Sequence
from typing import Literal

from pydantic import PositiveInt
from torch import Tensor, nn

from gentool.errors import UsageError
from gentool.nn.blocks import Activation
from gentool.nn.conv import ConvDecoder, ConvEncoder, spatial_decoder, spatial_encoder
from gentool.nn.mlp import MLP
from gentool.nn.network import Network
from gentool.space import DataSpace

Kind = Literal["auto", "mlp", "conv", "spatial"]

SMALLEST_CONV = 16
"""Pixels of the shorter side from which `auto` takes convolutions; smaller images an MLP learns faster and as well."""


def encoder(
    space: DataSpace,
    outputs: int,
    classes: int,
    *,
    kind: Kind = "mlp",
    hidden_features: Sequence[PositiveInt] = (512,),
    hidden_channels: Sequence[PositiveInt] = (32, 64),
    activation: Activation = "relu",
) -> Network:
    """Build the map from x in model space, and its label where `classes` > 0, to features.

    Args:
        space: the data's facts.
        outputs: features out; spatial: of each place.
        classes: number of classes of the labels given; 0 for none.
        kind: mlp, conv, spatial (conv that keeps the image's positions); auto: conv on images of 16 pixels and more,
            else mlp.
        hidden_features: units of each fully connected layer, 1 or more; [] makes the map linear.
        hidden_channels: conv, spatial: channels of each stage; each halves the image's sides, rounding up.
        activation: relu, leaky_relu, elu, gelu, silu, softplus or tanh.

    Returns:
        A network with forward(x (batch, *space.shape), y (batch,) or None) -> (batch, outputs); spatial:
        (batch, outputs, h, w) with the height and width of the last stage.

    Raises:
        UsageError: where the kind does not fit the data.
    """
    chosen = kind_for(space, kind, hidden_channels, "kind")
    if chosen == "mlp":
        return Network(MLP(space.dims, hidden_features, outputs, classes, activation))
    build = spatial_encoder if chosen == "spatial" else ConvEncoder
    return Network(build(_image(space), hidden_channels, hidden_features, outputs, classes, activation))


def decoder(
    space: DataSpace,
    inputs: int,
    outputs_per_dim: int,
    classes: int,
    *,
    kind: Kind = "mlp",
    hidden_features: Sequence[PositiveInt] = (512,),
    hidden_channels: Sequence[PositiveInt] = (32, 64),
    activation: Activation = "relu",
) -> Network:
    """Build the map from features, and a label where `classes` > 0, to numbers for each dimension of x.

    Args:
        space: the data's facts.
        inputs: features in; spatial: of each place.
        outputs_per_dim: numbers for each dimension of x.
        classes: number of classes of the labels given; 0 for none.
        kind: mlp, conv, spatial (mirrors the encoder of that kind); auto: conv on images of 16 pixels and more, else
            mlp.
        hidden_features: units of each fully connected layer, 1 or more; [] makes the map linear.
        hidden_channels: conv, spatial: channels of each stage in the encoder's order (the decoder goes from last to
            first).
        activation: relu, leaky_relu, elu, gelu, silu, softplus or tanh.

    Returns:
        A network with forward(z (batch, inputs), y (batch,) or None) -> (batch, outputs_per_dim, *space.shape);
        spatial: of z (batch, inputs, h, w).

    Raises:
        UsageError: where the kind does not fit the data.
    """
    body: nn.Module
    chosen = kind_for(space, kind, hidden_channels, "kind")
    if chosen == "mlp":
        body = MLP(inputs, hidden_features, outputs_per_dim * space.dims, classes, activation)
    else:
        channels, height, width = _image(space)
        shape = (outputs_per_dim * channels, height, width)
        build = spatial_decoder if chosen == "spatial" else ConvDecoder
        body = build(inputs, hidden_features, hidden_channels, shape, classes, activation)
    return Network(_Shaped(body, (outputs_per_dim, *space.shape)))


class _Shaped(nn.Module):
    """A body whose outputs are given their final shape."""

    def __init__(self, body: nn.Module, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.layers = body
        self.shape = shape

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        out: Tensor = self.layers(z, y)
        return out.reshape(out.shape[0], *self.shape)


def kind_for(space: DataSpace, kind: str, hidden_channels: Sequence[int], key: str) -> str:
    """Return the kind of network: `auto` is conv on images of SMALLEST_CONV pixels and more, else mlp.

    Args:
        space: the data's facts.
        kind: as asked for.
        hidden_channels: channels of each stage; without any, auto is mlp.
        key: what the kind is called where it is typed.

    Returns:
        mlp, or a kind that is of images.

    Raises:
        UsageError: where the kind does not fit the data, or lacks stages.
    """
    if kind == "auto":
        fits = space.is_image and min(space.shape[1:]) >= SMALLEST_CONV and hidden_channels
        return "conv" if fits else "mlp"
    if kind != "mlp" and not space.is_image:
        raise UsageError(f"{key}={kind} needs images, and x has shape {space.shape}: use mlp or auto")
    if kind != "mlp" and not hidden_channels:
        raise UsageError(f"{key}={kind} needs at least one stage: give hidden_channels, such as [32,64]")
    return kind


def _image(space: DataSpace) -> tuple[int, int, int]:
    channels, height, width = space.shape
    return channels, height, width
