"""Multi-layer perceptrons, with or without class labels."""

from collections.abc import Sequence
from itertools import chain, pairwise

import torch
from torch import Tensor, nn

from gentool.nn.blocks import OUTPUT_GAIN, Activation, activate, activation, gain, linear, one_hot
from gentool.nn.linear import linear as product
from gentool.nn.linear import matmul

_relu_backward = torch.ops.aten.threshold_backward


class MLP(nn.Module):
    """Linear layers with activations between them; class labels enter beside the inputs as indicators.

    Args:
        inputs: features in.
        hidden_features: features of each hidden layer; none makes the map linear.
        outputs: features out.
        classes: number of classes of the labels it is given; 0 for none.
        activation_name: of the activation between layers.
        last_gain: scale of the last layer's weights.

    Attributes:
        derives: whether `pull` gives its derivatives.
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
        widths = [inputs + classes, *hidden_features]
        hidden = [linear(*sizes, gain(activation_name)) for sizes in pairwise(widths)]
        self._linear = [*hidden, linear(widths[-1], outputs, last_gain)]
        self._activate = activate(activation_name)
        self.derives = activation_name == "relu" and not classes
        between = [(layer, activation(activation_name)) for layer in hidden]
        self.layers = nn.Sequential(*chain(*between), self._linear[-1])  # gives the weights their names

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
        return self.trace(x)[0]

    def weights(self) -> list[Tensor]:
        """Return weight and offset of each layer: `parameters()`, whose search costs a small step 4 %."""
        return [p for layer in self._linear for p in (layer.weight, layer.bias)]

    def trace(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return (batch, outputs) of all inputs (batch, inputs + classes), and what each linear layer saw."""
        *hidden, last = self._linear  # by functions: a call of a module costs a small network as much as its products
        seen = [x]
        for layer in hidden:
            seen.append(self._activate(product(seen[-1], layer.weight, layer.bias)))
        return product(seen[-1], last.weight, last.bias), seen

    def pull(self, seen: list[Tensor], gradient: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Go back through what `trace` returned, where `derives`.

        Args:
            seen: by each linear layer.
            gradient: by the outputs, (batch, outputs).

        Returns:
            The gradients by the inputs, (batch, inputs), and by each of `weights()`.
        """
        by_parameters: list[Tensor] = []
        for layer, x in reversed(list(zip(self._linear, seen, strict=True))):
            by_parameters += gradient.sum(0), matmul(gradient.t(), x)
            gradient = matmul(gradient, layer.weight)
            if x is not seen[0]:
                gradient = _relu_backward(gradient, x, 0)
        return gradient, by_parameters[::-1]
