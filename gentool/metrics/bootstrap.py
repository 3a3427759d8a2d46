"""Standard errors of what is no mean: how much a number moves when the examples are drawn again."""

from collections.abc import Callable
from math import sqrt

import torch
from torch import Tensor

REPEATS = 200
"""Times the examples are drawn again."""

PARTS = 8
"""Disjoint parts of the examples that a costly number is computed on."""


def bootstrap_error(statistic: Callable[[Tensor], float], n: int, *, seed: int) -> float:
    """Return the standard deviation of a statistic over resampled examples.

    Args:
        statistic: maps (n,) row numbers, drawn with replacement, to a number.
        n: number of examples.
        seed: of the draws.

    Returns:
        The bootstrap's standard error.

    Reference: Bootstrap Methods: Another Look at the Jackknife, Bradley Efron, 1979,
        https://doi.org/10.1214/aos/1176344552
    """
    generator = torch.Generator().manual_seed(seed)
    values = [statistic(torch.randint(n, (n,), generator=generator)) for _ in range(REPEATS)]
    return float(torch.tensor(values, dtype=torch.float64).std())


def parts_error(statistic: Callable[[Tensor, Tensor], float], a: Tensor, b: Tensor) -> float | None:
    """Return std / sqrt(parts) of a statistic over disjoint parts of two samples, by the method of batch means.

    It holds the noise of the whole as long as the noise falls with the square root of the number of examples.

    Args:
        statistic: maps a part of each to a number.
        a: (n, …).
        b: (m, …).

    Returns:
        The standard error; None where a part would hold fewer than two examples.
    """
    if min(len(a), len(b)) < 2 * PARTS:
        return None
    pairs = zip(a.tensor_split(PARTS), b.tensor_split(PARTS), strict=True)
    values = torch.tensor([statistic(*pair) for pair in pairs], dtype=torch.float64)
    return float(values.std()) / sqrt(PARTS)
