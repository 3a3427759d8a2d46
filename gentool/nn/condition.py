"""What a denoiser is told besides its input: a noise level or time, and a label or none."""

from math import log

import torch
from torch import Tensor, nn

from gentool.nn.blocks import Activation, activation, gain, linear

FREQUENCIES = 64
"""Sines, and as many cosines, that a number is spread over."""

FASTEST = 100.0
"""Radians a unit of the fastest sine: hundredths can be told apart, and a solver need not follow faster ripples."""


class Sinusoids(nn.Module):
    """sin and cos of a number at frequencies that form a geometric series, in fp32.

    Args:
        frequencies: how many; twice as many features come out.
        slowest: radians a unit.
        fastest: radians a unit.

    Reference: Attention Is All You Need, Ashish Vaswani et al., 2017, https://arxiv.org/abs/1706.03762
    """

    frequencies: Tensor

    def __init__(self, frequencies: int, slowest: float, fastest: float) -> None:
        super().__init__()
        series = torch.linspace(log(slowest), log(fastest), frequencies).exp()
        self.register_buffer("frequencies", series, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (…) to (…, 2 frequencies), of unit second moment."""
        angle = x.float().unsqueeze(-1) * self.frequencies
        return torch.cat([angle.sin(), angle.cos()], -1) * 2**0.5


class Condition(nn.Module):
    """An embedding of a number of order 1 and of a label: an MLP of the number's sinusoids and the label's vector.

    The label `classes`, one more than there are, says that none is given.

    Args:
        classes: number of classes of the labels given; 0 for none.
        features: of the embedding.
        activation_name: the activation's name.
    """

    def __init__(self, classes: int, features: int, activation_name: Activation) -> None:
        super().__init__()
        self.classes = classes
        self.sinusoids = Sinusoids(FREQUENCIES, 1.0, FASTEST)
        self.first = linear(2 * FREQUENCIES, features, 1.0)
        self.label = nn.Embedding(classes + 1, features) if classes else None
        self.rest = nn.Sequential(
            activation(activation_name),
            linear(features, features, gain(activation_name)),
            activation(activation_name),
        )

    def forward(self, t: Tensor, y: Tensor | None) -> Tensor:
        """Map t (batch,), and labels y (batch,) int64 where there are classes, to (batch, features)."""
        h: Tensor = self.first(self.sinusoids(t))
        if self.label is not None:
            assert y is not None, "a network with classes needs labels"
            h = h + self.label(y)
        out: Tensor = self.rest(h)
        return out


def hide_labels(y: Tensor, classes: int, share: float) -> Tensor:
    """Return labels of which a share, each for itself, is replaced by `classes`, the label of none.

    Args:
        y: (batch,) int64.
        classes: number of classes.
        share: in [0, 1); of 0 nothing is drawn.

    Returns:
        (batch,) int64.

    Reference: Classifier-Free Diffusion Guidance, Jonathan Ho and Tim Salimans, 2022, https://arxiv.org/abs/2207.12598
    """
    return y.masked_fill(torch.rand(len(y), device=y.device) < share, classes) if share else y
