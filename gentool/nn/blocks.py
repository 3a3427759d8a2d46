"""What every network is built of: activations by name, and layers whose weights keep the variance of what they see."""

from collections.abc import Callable
from math import sqrt
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from gentool.nn.linear import Linear

Activation = Literal["relu", "leaky_relu", "elu", "gelu", "silu", "softplus", "tanh"]

Dropout = Annotated[float, Field(ge=0, lt=1)]
"""Fraction of the features that are zeroed while training."""

_ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
    "tanh": nn.Tanh,
}

_FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu_,
    "leaky_relu": functional.leaky_relu,
    "elu": functional.elu,
    "gelu": functional.gelu,
    "silu": functional.silu,
    "softplus": functional.softplus,
    "tanh": torch.tanh,
}

# What a layer before the activation is scaled by, so that the activation's output has a second moment near 1 again.
_GAINS = {
    "relu": sqrt(2),
    "leaky_relu": sqrt(2),
    "elu": 1.28,
    "gelu": 1.47,
    "silu": 1.56,
    "softplus": 1.08,
    "tanh": 1.0,  # not the customary 5/3, which saturates: 0.6 nats worse after 12 epochs of binarised MNIST
}

OUTPUT_GAIN = 1.0
"""Scale of a network's last layer; a start nearer zero was 0.9 nats worse after 12 epochs of binarised MNIST."""


def activation(name: Activation) -> nn.Module:
    """Return the activation of that name."""
    return _ACTIVATIONS[name]()


def activate(name: Activation) -> Callable[[Tensor], Tensor]:
    """Return the activation of that name as a function that may overwrite what it is given."""
    return _FUNCTIONS[name]


def gain(name: Activation) -> float:
    """Return the factor on a layer's weights that makes up for what the activation after it takes away."""
    return _GAINS[name]


def linear(inputs: int, outputs: int, gain: float) -> Linear:
    """Return a linear layer with weights N(0, gain² / inputs) and no offset.

    Args:
        inputs: features in.
        outputs: features out.
        gain: standard deviation of the output for inputs of unit second moment.

    Returns:
        The layer.
    """
    layer = Linear(inputs, outputs)
    _initialise(layer, gain / sqrt(inputs))
    return layer


def conv(inputs: int, outputs: int, stride: int, gain: float) -> nn.Conv2d:
    """Return a 3x3 convolution that maps a side s to ceil(s / stride), weights N(0, gain² / (9 inputs)).

    Args:
        inputs: channels in.
        outputs: channels out.
        stride: 1 or 2.
        gain: standard deviation of the output for inputs of unit second moment.

    Returns:
        The layer.
    """
    layer = nn.Conv2d(inputs, outputs, 3, stride, 1)
    _initialise(layer, gain / sqrt(9 * inputs))
    return layer


class Upsample(nn.Module):
    """A transposed 4x4 convolution of stride 2, cut to size: in shapes, the inverse of a strided `conv`.

    Each output pixel sees 2x2 taps of each input channel, so the weights are N(0, gain² / (4 inputs)).

    Args:
        inputs: channels in.
        outputs: channels out.
        size: (height, width) out; each side is 2 s or 2 s - 1 for an input side s.
        gain: standard deviation of the output for inputs of unit second moment.
    """

    def __init__(self, inputs: int, outputs: int, size: tuple[int, int], gain: float) -> None:
        super().__init__()
        self.size = size
        self.layer = nn.ConvTranspose2d(inputs, outputs, 4, 2, 1)
        _initialise(self.layer, gain / sqrt(4 * inputs))

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, inputs, ceil(h / 2), ceil(w / 2)) to (batch, outputs, h, w)."""
        out: Tensor = self.layer(x)
        return out[..., : self.size[0], : self.size[1]]


def one_hot(y: Tensor, classes: int, like: Tensor) -> Tensor:
    """Return (batch, classes) indicators of labels (batch,) int64, in the dtype of `like`."""
    return functional.one_hot(y, classes).to(like.dtype)


class LabelPlanes(nn.Module):
    """A body that sees class labels as constant planes beside its image.

    Args:
        body: takes an image with `classes` channels more.
        classes: number of classes of the labels it is given; 0 for none.
    """

    def __init__(self, body: nn.Module, classes: int) -> None:
        super().__init__()
        self.layers = body
        self.classes = classes

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Map (batch, channels, h, w) images, and (batch,) labels where there are classes, by the body."""
        if self.classes:
            assert y is not None, "a network with classes needs labels"
            planes = one_hot(y, self.classes, x)[:, :, None, None]
            x = torch.cat([x, planes.expand(-1, -1, *x.shape[2:])], 1)
        out: Tensor = self.layers(x)
        return out


def _initialise(layer: nn.Linear | nn.Conv2d | nn.ConvTranspose2d, std: float) -> None:
    nn.init.normal_(layer.weight, std=std)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
