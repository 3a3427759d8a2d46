"""Networks of couplings: features to features, or images to images of the same size; they start at zero."""

from collections.abc import Sequence

from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor, nn

from gentool.nn.blocks import Activation, activation, conv, gain, linear, one_hot
from gentool.nn.mlp import MLP


class ConvCoupling(nn.Module):
    """A 3x3 convolution, residual blocks, and a 3x3 convolution that starts at zero; no side shrinks.

    Args:
        inputs: channels in.
        hidden_channels: channels of each convolution inside.
        blocks: residual blocks.
        outputs: channels out.
        classes: number of classes of the labels it is given; 0 for none.
        activation_name: the activation's name.
    """

    def __init__(
        self,
        inputs: int,
        hidden_channels: int,
        blocks: int,
        outputs: int,
        classes: int,
        activation_name: Activation,
    ) -> None:
        super().__init__()
        self.classes = classes
        self.first = conv(inputs, hidden_channels, 1, 1.0)
        self.blocks = nn.ModuleList(_block(hidden_channels, activation_name) for _ in range(blocks))
        self.last = nn.Sequential(activation(activation_name), conv(hidden_channels, outputs, 1, 0.0))
        self.label = linear(classes, hidden_channels, 1.0) if classes else None

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Map (batch, inputs, h, w), and (batch,) labels where there are classes, to (batch, outputs, h, w)."""
        h: Tensor = self.first(x)
        if self.label is not None:
            assert y is not None, "a network with classes needs labels"
            h = h + self.label(one_hot(y, self.classes, h))[:, :, None, None]
        for block in self.blocks:
            h = h + block(h)
        out: Tensor = self.last(h)
        return out


def _block(channels: int, name: Activation) -> nn.Module:
    mix = nn.Conv2d(channels, channels, 1)
    nn.init.normal_(mix.weight, std=0.1 / channels**0.5)  # a block starts small: the sum keeps its scale
    assert mix.bias is not None
    nn.init.zeros_(mix.bias)
    return nn.Sequential(activation(name), conv(channels, channels, 1, gain(name)), activation(name), mix)


def coupling_network(
    shape: Sequence[int],
    outputs: int,
    classes: int,
    *,
    hidden_features: Sequence[PositiveInt],
    hidden_channels: PositiveInt,
    blocks: NonNegativeInt,
    activation: Activation,
) -> nn.Module:
    """Build the network of a coupling; it runs in fp32 whatever the device, for its errors add up through a flow.

    Args:
        shape: of what it sees, (features,) or (channels, height, width).
        outputs: features or channels out.
        classes: number of classes of the labels given; 0 for none.
        hidden_features: of vectors: features of each hidden layer.
        hidden_channels: of images: channels of every layer inside.
        blocks: of images: residual blocks.
        activation: the activation's name.

    Returns:
        A network with forward(x (batch, *shape), y (batch,) or None) -> (batch, outputs, …), zero to begin with.
    """
    if len(shape) == 1:
        return MLP(shape[0], hidden_features, outputs, classes, activation, 0.0)
    return ConvCoupling(shape[0], hidden_channels, blocks, outputs, classes, activation)
