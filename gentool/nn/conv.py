"""Convolutional maps from images to features and back, for images of any size and number of channels."""

from collections.abc import Sequence

from torch import Tensor, nn

from gentool.nn.blocks import OUTPUT_GAIN, Activation, Upsample, activation, conv, gain
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
        channels, *size = shape
        layers: list[nn.Module] = []
        for width in hidden_channels:
            layers += [conv(channels, width, 2, gain(activation_name)), activation(activation_name)]
            channels = width
        self.stages = nn.Sequential(*layers)
        height, width = pyramid((size[0], size[1]), len(hidden_channels))[-1]
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
        sizes = pyramid((shape[1], shape[2]), len(hidden_channels))
        widths = [*reversed(hidden_channels), hidden_channels[0]]  # the last stage keeps its width at full size
        self.base = (widths[0], *sizes[-1])
        features = widths[0] * sizes[-1][0] * sizes[-1][1]
        scale = gain(activation_name)
        self.stem = MLP(inputs, hidden_features, features, classes, activation_name, scale)
        layers: list[nn.Module] = [activation(activation_name)]
        for i, size in enumerate(reversed(sizes[:-1])):
            layers += [Upsample(widths[i], widths[i + 1], size, scale), activation(activation_name)]
        self.stages = nn.Sequential(*layers, conv(widths[-1], shape[0], 1, OUTPUT_GAIN))

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Map (batch, inputs) features, and (batch,) labels where there are classes, to (batch, *shape)."""
        out: Tensor = self.stages(self.stem(z, y).unflatten(1, self.base))
        return out
