"""The bundled classifiers of handwritten digits: what distances between sets of digits are measured in."""

from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

VERSION = "digits-1"
"""Of the weights: numbers measured with different ones are never compared."""

FEATURES = 64
"""Features of one image."""

ACCURACY: dict[int, float] = {28: 0.9938, 8: 0.9944}
"""Share of the test examples classified rightly, by size: MNIST's 10,000; the 359 of dataset=digits.

Measured on the weights as they are shipped, by `scripts/train_digit_classifier.py`, which trains them. Of images
binarised by chance it is 0.9912 and 0.8607.
"""


class DigitClassifier(nn.Module):
    """Three convolutions and two linear layers: grey levels to 64 features >= 0, and from them to 10 classes.

    Args:
        size: height and width of the images, a multiple of 4.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_block(1, 16), nn.MaxPool2d(2), *_block(16, 32), nn.MaxPool2d(2), *_block(32, 32), nn.Flatten(),
            nn.Linear(32 * (size // 4) ** 2, FEATURES), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Linear(FEATURES, 10)

    def features(self, x: Tensor) -> Tensor:
        """Return (n, 64) >= 0, the layer before the classes, of x (n, 1, size, size) in [0, 1]."""
        features: Tensor = self.body(x)
        return features

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, 10) logits of the classes 0..9, of x (n, 1, size, size) in [0, 1]."""
        logits: Tensor = self.head(self.features(x))
        return logits


def _block(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]


def weights_file(size: int) -> Path:
    """Return the file in this package that holds the weights, as float16."""
    return Path(__file__).with_name(f"digit_classifier_{size}.pt")


@cache
def bundled(size: int) -> DigitClassifier:
    """Load a classifier with the weights of this package.

    Args:
        size: height and width of the images: 8 for scikit-learn's digits, 28 for MNIST.

    Returns:
        The classifier, in eval mode, float32, on the CPU, needing no gradient.
    """
    state: dict[str, Any] = torch.load(weights_file(size), map_location="cpu", weights_only=True)
    classifier = DigitClassifier(size)
    classifier.load_state_dict({name: t.float() if t.is_floating_point() else t for name, t in state.items()})
    return classifier.eval().requires_grad_(False)
