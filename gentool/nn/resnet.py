"""Strided convolutions and residual blocks between an image and a grid of features, as VQ-VAE has them."""

from collections.abc import Sequence
from math import sqrt

from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor, nn

from gentool.errors import UsageError
from gentool.nn.blocks import OUTPUT_GAIN, Activation, Upsample, activation, conv, gain
from gentool.nn.conv import pyramid
from gentool.nn.mlp import MLP
from gentool.nn.network import Network
from gentool.space import DataSpace

Grid = tuple[int, int]
"""Height and width of a grid of codes."""


class ResidualBlock(nn.Module):
    """x + conv(activation(conv(activation(x)))).

    Args:
        channels: in and out.
        activation_name: the activation's name.
        scale: standard deviation of what is added, for inputs of unit second moment.
    """

    def __init__(self, channels: int, activation_name: Activation, scale: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            activation(activation_name),
            conv(channels, channels, 1, gain(activation_name)),
            activation(activation_name),
            conv(channels, channels, 1, gain(activation_name) * scale),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, channels, height, width) to the same."""
        out: Tensor = x + self.layers(x)
        return out


def residual_blocks(channels: int, blocks: int, activation_name: Activation) -> list[nn.Module]:
    """Return residual blocks that together add as much as they are given, then the activation.

    Args:
        channels: in and out.
        blocks: how many.
        activation_name: the activation's name.

    Returns:
        The layers.
    """
    scale = 1 / sqrt(max(1, blocks))
    layers: list[nn.Module] = [ResidualBlock(channels, activation_name, scale) for _ in range(blocks)]
    return [*layers, activation(activation_name)]


class GridEncoder(nn.Module):
    """Convolutions of stride 2, residual blocks, and a convolution to the features of each cell.

    Args:
        shape: (channels, height, width) of x.
        hidden_channels: channels of each stage; each stage halves the sides, rounding up.
        blocks: residual blocks after the stages.
        features: of each cell.
        activation_name: the activation's name.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        hidden_channels: Sequence[int],
        blocks: int,
        features: int,
        activation_name: Activation,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, width in zip([shape[0], *hidden_channels], hidden_channels, strict=False):
            layers += [conv(inputs, width, 2, gain(activation_name)), activation(activation_name)]
        width = hidden_channels[-1]
        layers = [*layers[:-1], *residual_blocks(width, blocks, activation_name)]
        self.layers = nn.Sequential(*layers, conv(width, features, 1, OUTPUT_GAIN))

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, *shape) images to (batch, features, grid height, grid width)."""
        out: Tensor = self.layers(x)
        return out


class GridDecoder(nn.Module):
    """The mirror of `GridEncoder`: a convolution, residual blocks, and transposed convolutions up to the size of x.

    Args:
        features: of each cell.
        hidden_channels: channels of each stage of the encoder this mirrors, so used from the last to the first.
        blocks: residual blocks before the stages.
        shape: (channels, height, width) out.
        activation_name: the activation's name.
    """

    def __init__(
        self,
        features: int,
        hidden_channels: Sequence[int],
        blocks: int,
        shape: tuple[int, int, int],
        activation_name: Activation,
    ) -> None:
        super().__init__()
        sizes = pyramid((shape[1], shape[2]), len(hidden_channels))[-2::-1]
        widths = [*reversed(hidden_channels), shape[0]]
        layers: list[nn.Module] = [conv(features, widths[0], 1, OUTPUT_GAIN)]
        layers += residual_blocks(widths[0], blocks, activation_name)
        for inputs, outputs, size in zip(widths, widths[1:], sizes, strict=False):
            last = size == sizes[-1]
            layers.append(Upsample(inputs, outputs, size, OUTPUT_GAIN if last else gain(activation_name)))
            layers += [] if last else [activation(activation_name)]
        self.layers = nn.Sequential(*layers)

    def forward(self, z: Tensor) -> Tensor:
        """Map (batch, features, grid height, grid width) to (batch, *shape)."""
        out: Tensor = self.layers(z)
        return out


class _Reshaped(nn.Module):
    """An MLP whose outputs are given their final shape."""

    def __init__(self, layers: nn.Module, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.layers = layers
        self.shape = shape

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x)
        return out.reshape(len(out), *self.shape)


def grid_encoder(
    space: DataSpace,
    features: int,
    *,
    hidden_channels: Sequence[PositiveInt] = (32, 64),
    blocks: NonNegativeInt = 2,
    side: PositiveInt = 2,
    hidden_features: Sequence[PositiveInt] = (256,),
    activation: Activation = "relu",
) -> Network:
    """Build the map from x in model space to a grid of features: of images by convolutions, of points by an MLP.

    Args:
        space: the data's facts.
        features: of each cell.
        hidden_channels: images: channels of each stage; each halves the image's sides: 28x28 gets a grid of 7x7.
        blocks: images: residual blocks, 0 or more.
        side: points: codes on a side of their square grid, 1 or more.
        hidden_features: points: units of each fully connected layer.
        activation: relu, leaky_relu, elu, gelu, silu, softplus or tanh.

    Returns:
        A network with forward(x (batch, *space.shape)) -> (batch, features, grid height, grid width).

    Raises:
        UsageError: where x is neither an image nor a point.
    """
    if _is_image(space, hidden_channels):
        return Network(GridEncoder(space.shape, hidden_channels, blocks, features, activation))
    layers = MLP(space.dims, hidden_features, features * side * side, 0, activation)
    return Network(_Reshaped(layers, (features, side, side)))


def grid_decoder(
    space: DataSpace,
    features: int,
    grid: Grid,
    outputs_per_dim: int,
    *,
    hidden_channels: Sequence[PositiveInt] = (32, 64),
    blocks: NonNegativeInt = 2,
    hidden_features: Sequence[PositiveInt] = (256,),
    activation: Activation = "relu",
) -> Network:
    """Build the map from a grid of features to numbers for each dimension of x.

    Args:
        space: the data's facts.
        features: of each cell.
        grid: the encoder's height and width.
        outputs_per_dim: numbers for each dimension of x.
        hidden_channels: images: channels of each stage in the encoder's order (the decoder goes from last to first).
        blocks: images: residual blocks, 0 or more.
        hidden_features: points: units of each fully connected layer.
        activation: relu, leaky_relu, elu, gelu, silu, softplus or tanh.

    Returns:
        A network with forward(z (batch, features, *grid)) -> (batch, outputs_per_dim, *space.shape).

    Raises:
        UsageError: where x is neither an image nor a point, or the decoder's stages do not mirror the encoder's.
    """
    outputs = (outputs_per_dim, *space.shape)
    if not _is_image(space, hidden_channels):
        layers = MLP(features * grid[0] * grid[1], hidden_features, outputs_per_dim * space.dims, 0, activation)
        return Network(_Reshaped(layers, outputs))
    channels, height, width = space.shape
    if pyramid((height, width), len(hidden_channels))[-1] != grid:
        raise UsageError(
            f"model.decoder.hidden_channels={list(hidden_channels)}: {len(hidden_channels)} stages do not lead from a "
            f"grid of {grid[0]}x{grid[1]} to images of {height}x{width}; give as many as the encoder has"
        )
    shape = (outputs_per_dim * channels, height, width)
    return Network(_Reshaped(GridDecoder(features, hidden_channels, blocks, shape, activation), outputs))


def _is_image(space: DataSpace, hidden_channels: Sequence[int]) -> bool:
    if not space.is_image and not space.is_points:
        raise UsageError(f"a grid of codes is for images and points of reals, and x has shape {space.shape}")
    if space.is_image and not hidden_channels:
        raise UsageError("hidden_channels=[]: images need at least one stage, such as [64,64]")
    return space.is_image
