"""Networks of couplings: features to features, or images to images of the same size; they start at zero."""

from collections.abc import Sequence
from math import sqrt

from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor, nn

from gentool.nn.blocks import Activation, activation, conv, gain, linear, one_hot
from gentool.nn.mlp import MLP


class ConvCoupling(nn.Module):
    """A 3x3 convolution, some of 1x1, and a 3x3 that starts at zero, with activations between; no side shrinks.

    The last is divided by the root of how many products it sums: Adam moves all weights by the same first step,
    and a flow of dozens of couplings would leave the range of floats within ten of them.

    Args:
        inputs: channels in.
        hidden_channels: channels between.
        pointwise_layers: how many 1x1 convolutions.
        outputs: channels out.
        classes: number of classes of the labels it is given; 0 for none.
        activation_name: the activation's name.

    Reference: Glow: Generative Flow with Invertible 1x1 Convolutions, Diederik P. Kingma and Prafulla Dhariwal, 2018,
        https://arxiv.org/abs/1807.03039
    """

    def __init__(
        self,
        inputs: int,
        hidden_channels: int,
        pointwise_layers: int,
        outputs: int,
        classes: int,
        activation_name: Activation,
    ) -> None:
        super().__init__()
        self.classes = classes
        self.first = conv(inputs, hidden_channels, 1, 1.0)
        layers: list[nn.Module] = []
        for _ in range(pointwise_layers):
            layers += [activation(activation_name), _pointwise(hidden_channels, gain(activation_name))]
        self.last = nn.Sequential(*layers, activation(activation_name), conv(hidden_channels, outputs, 1, 0.0))
        self.label = linear(classes, hidden_channels, 1.0) if classes else None
        self.scale = 1 / sqrt(9 * hidden_channels)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Map (batch, inputs, h, w), and (batch,) labels where there are classes, to (batch, outputs, h, w)."""
        h: Tensor = self.first(x)
        if self.label is not None:
            assert y is not None, "a network with classes needs labels"
            h = h + self.label(one_hot(y, self.classes, h))[:, :, None, None]
        out: Tensor = self.last(h) * self.scale
        return out


def _pointwise(channels: int, gain: float) -> nn.Conv2d:
    layer = nn.Conv2d(channels, channels, 1)
    nn.init.normal_(layer.weight, std=gain / sqrt(channels))
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer


def coupling_network(
    shape: Sequence[int],
    outputs: int,
    classes: int,
    *,
    hidden_features: Sequence[PositiveInt] = (64, 64),
    hidden_channels: PositiveInt = 64,
    pointwise_layers: NonNegativeInt = 1,
    activation: Activation = "relu",
) -> nn.Module:
    """Build the network of a coupling; it runs in fp32 whatever the device, for its errors add up through a flow.

    Args:
        shape: of what it sees, (features,) or (channels, height, width).
        outputs: features or channels out.
        classes: number of classes of the labels given; 0 for none.
        hidden_features: points: units of each hidden layer.
        hidden_channels: images: channels of every hidden layer; the paper has 512.
        pointwise_layers: images: 1x1 convolutions between the two 3x3 ones, 0 or more; the paper has 1.
        activation: relu, leaky_relu, elu, gelu, silu, softplus or tanh.

    Returns:
        A network with forward(x (batch, *shape), y (batch,) or None) -> (batch, outputs, …), zero to begin with.
    """
    if len(shape) == 1:
        return MLP(shape[0], hidden_features, outputs, classes, activation, 0.0)
    return ConvCoupling(shape[0], hidden_channels, pointwise_layers, outputs, classes, activation)
