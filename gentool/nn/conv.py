"""Convolutional maps from images to features and back, for images of any size and number of channels."""

from collections.abc import Sequence

from torch import Tensor, nn

from gentool.nn.blocks import OUTPUT_GAIN, Activation, LabelPlanes, Upsample, activation, conv, gain
from gentool.nn.mlp import MLP


def pyramid(size: tuple[int, int], stages: int) -> list[tuple[int, int]]:
    """Return the sizes an image passes through when each stage halves it, rounding up.

    >>> pyramid((13, 17), 2)
    [(13, 17), (7, 9), (4, 5)]
    """
    sizes = [size]
    for _ in range(stages):
        height, width = sizes[-1]
        sizes.append(((height + 1) // 2, (width + 1) // 2))
    return sizes


def _halving(channels: int, widths: Sequence[int], activation_name: Activation, stride: int = 2) -> list[nn.Module]:
    """Return convolutions with activations: from `channels` through `widths`, each halving the sides."""
    layers: list[nn.Module] = []
    for width in widths:
        layers += [conv(channels, width, stride, gain(activation_name)), activation(activation_name)]
        channels = width
    return layers


def _doubling(
    hidden_channels: Sequence[int], shape: tuple[int, int, int], activation_name: Activation
) -> list[nn.Module]:
    """Return the way back from `hidden_channels[-1]` features at the smallest size to images of `shape`."""
    sizes = pyramid((shape[1], shape[2]), len(hidden_channels))
    widths = [*reversed(hidden_channels), hidden_channels[0]]  # the last stage keeps its width at full size
    layers: list[nn.Module] = [activation(activation_name)]
    for i, size in enumerate(reversed(sizes[:-1])):
        layers += [Upsample(widths[i], widths[i + 1], size, gain(activation_name)), activation(activation_name)]
    return [*layers, conv(widths[-1], shape[0], 1, OUTPUT_GAIN)]


def spatial_encoder(
    shape: tuple[int, int, int],
    hidden_channels: Sequence[int],
    hidden_features: Sequence[int],
    outputs: int,
    classes: int,
    activation_name: Activation,
) -> nn.Module:
    """Build convolutions that keep the image's places: features for each place of the last stage.

    Args:
        shape: (channels, height, width) of x.
        hidden_channels: channels of each stage; each stage halves the sides, rounding up.
        hidden_features: channels of each convolution after the stages.
        outputs: features of each place.
        classes: number of classes of the labels it is given; 0 for none.
        activation_name: the activation's name.

    Returns:
        A body from (batch, *shape), and (batch,) labels where there are classes, to (batch, outputs, h, w).
    """
    stages = _halving(shape[0] + classes, hidden_channels, activation_name)
    after = _halving(hidden_channels[-1], hidden_features, activation_name, stride=1)
    last = conv([*hidden_channels, *hidden_features][-1], outputs, 1, OUTPUT_GAIN)
    return LabelPlanes(nn.Sequential(*stages, *after, last), classes)


def spatial_decoder(
    inputs: int,
    hidden_features: Sequence[int],
    hidden_channels: Sequence[int],
    shape: tuple[int, int, int],
    classes: int,
    activation_name: Activation,
) -> nn.Module:
    """Build the mirror of `spatial_encoder`.

    Args:
        inputs: features of each place.
        hidden_features: channels of each convolution before the stages.
        hidden_channels: channels of each stage of the encoder this mirrors, so used from the last to the first.
        shape: (channels, height, width) out.
        classes: number of classes of the labels it is given; 0 for none.
        activation_name: the activation's name.

    Returns:
        A body from (batch, inputs, h, w), and (batch,) labels where there are classes, to (batch, *shape).
    """
    before = _halving(inputs + classes, hidden_features, activation_name, stride=1)
    first = conv([inputs + classes, *hidden_features][-1], hidden_channels[-1], 1, gain(activation_name))
    return LabelPlanes(nn.Sequential(*before, first, *_doubling(hidden_channels, shape, activation_name)), classes)


class ConvEncoder(nn.Module):
    """Convolutions of stride 2, then an MLP on what is left of the image.

    Args:
        shape: (channels, height, width) of x.
        hidden_channels: channels of each stage; each stage halves the sides, rounding up.
        hidden_features: hidden layers of the MLP.
        outputs: features out.
        classes: number of classes of the labels it is given; 0 for none.
        activation_name: the activation's name.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        hidden_channels: Sequence[int],
        hidden_features: Sequence[int],
        outputs: int,
        classes: int,
        activation_name: Activation,
    ) -> None:
        super().__init__()
        self.stages = nn.Sequential(*_halving(shape[0], hidden_channels, activation_name))
        channels = [shape[0], *hidden_channels][-1]
        height, width = pyramid((shape[1], shape[2]), len(hidden_channels))[-1]
        # Labels join after the stages: the MLP combines them with what the image shows.
        self.head = MLP(channels * height * width, hidden_features, outputs, classes, activation_name)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Map (batch, *shape) images, and (batch,) labels where there are classes, to (batch, outputs)."""
        out: Tensor = self.head(self.stages(x), y)
        return out


class ConvDecoder(nn.Module):
    """An MLP to a small image of features, then transposed convolutions up to the size of x.

    Args:
        inputs: features in.
        hidden_features: hidden layers of the MLP.
        hidden_channels: channels of each stage of the encoder this mirrors, so used from the last to the first.
        shape: (channels, height, width) out.
        classes: number of classes of the labels it is given; 0 for none.
        activation_name: the activation's name.
    """

    def __init__(
        self,
        inputs: int,
        hidden_features: Sequence[int],
        hidden_channels: Sequence[int],
        shape: tuple[int, int, int],
        classes: int,
        activation_name: Activation,
    ) -> None:
        super().__init__()
        height, width = pyramid((shape[1], shape[2]), len(hidden_channels))[-1]
        self.base = (hidden_channels[-1], height, width)
        features = hidden_channels[-1] * height * width
        self.stem = MLP(inputs, hidden_features, features, classes, activation_name, gain(activation_name))
        self.stages = nn.Sequential(*_doubling(hidden_channels, shape, activation_name))

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Map (batch, inputs) features, and (batch,) labels where there are classes, to (batch, *shape)."""
        out: Tensor = self.stages(self.stem(z, y).unflatten(1, self.base))
        return out
