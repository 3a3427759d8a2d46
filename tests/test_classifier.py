"""The judge of conditional samples is itself held to what it shall know."""

import torch
from sklearn.datasets import load_digits

from tests.classifier import accuracy


def test_the_judge_knows_digits_and_tells_them_apart():
    images, labels = (torch.tensor(a[1::2]) for a in load_digits(return_X_y=True))
    assert accuracy(images, labels) > 0.97
    assert accuracy(images, (labels + 1) % 10) < 0.03
