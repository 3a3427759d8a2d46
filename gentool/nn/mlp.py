"""Multi-layer perceptrons, with or without class labels."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gentool.nn.blocks import OUTPUT_GAIN, Activation, activation, gain, linear, one_hot


class MLP(nn.Module):
    """Linear layers with activations between them; class labels enter beside the inputs as indicators.

    Args:
        inputs: features in.
        hidden_features: features of each hidden layer; none makes the map linear.
        outputs: features out.
        classes: number of classes of the labels it is given; 0 for none.
        activation_name: of the activation between layers.
        last_gain: scale of the last layer's weights.
    """

    def __init__(
        self,
        inputs: int,
        hidden_features: Sequence[int],
        outputs: int,
        classes: int,
        activation_name: Activation,
        last_gain: float = OUTPUT_GAIN,
    ) -> None:
        super().__init__()
        self.classes = classes
        layers: list[nn.Module] = []
        width = inputs + classes
        for features in hidden_features:
            layers += [linear(width, features, gain(activation_name)), activation(activation_name)]
            width = features
        self.layers = nn.Sequential(*layers, linear(width, outputs, last_gain))

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Map features, and labels where there are classes.

        Args:
            x: (batch, …) with `inputs` numbers an example.
            y: (batch,) int64 labels; None where `classes` is 0.

        Returns:
            (batch, outputs).
        """
        x = x.flatten(1)
        if self.classes:
            assert y is not None, "a network with classes needs labels"
            x = torch.cat([x, one_hot(y, self.classes, x)], 1)
        out: Tensor = self.layers(x)
        return out
