"""An independent judge of class-conditional samples: a support vector machine on scikit-learn's digits."""

from functools import cache
from typing import Any

import numpy as np
from sklearn.datasets import load_digits
from sklearn.svm import SVC
from torch import Tensor


@cache
def judge() -> Any:
    """Fit the classifier on every other digit."""
    images, labels = load_digits(return_X_y=True)
    return SVC(C=10.0).fit(images[::2], labels[::2])


def accuracy(x: Tensor, y: Tensor) -> float:
    """Return the share of samples that the classifier takes for the class they were asked to be.

    Args:
        x: (n, 1, 8, 8) samples, in the data space of dataset=digits: 0..16.
        y: (n,) the classes asked for.
    """
    return float(np.mean(judge().predict(x.flatten(1).numpy().astype(float)) == y.numpy()))
