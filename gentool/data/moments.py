"""Location, scale and ties of columns of reals: what models see is (x - loc) / scale."""

from math import inf

import torch
from torch import Tensor

QUANTILE = 0.001
"""What lies outside the quantiles 0.1 % and 99.9 %, and far outside, does not widen the scale."""
MAX_STANDARDISED = 1e4
"""No example lies further from its column's location than this many scales: their squares stay finite in float32."""

REPEATS = 20
"""A column in which a value stands this many times on average is one of few values: its density is not finite."""

_ROWS = 1 << 16  # that quantiles and ties are taken of, evenly spaced
_CHUNK = 1 << 20  # numbers held in float64 at a time
_TINY = 1e-30  # a scale below this is a constant column's: its square is zero in float32


def location_and_scale(x: Tensor) -> tuple[Tensor, Tensor]:
    """Measure the location and the scale of each column, in float64, a chunk of rows at a time.

    They are the mean and the standard deviation of x, clipped to [q - r / 2, Q + r / 2], where q and Q are the
    quantiles 0.1 % and 99.9 % and r = Q - q. Columns with tails no heavier than a Gaussian's have nothing to clip;
    of those with heavy tails, a few examples far out do not press all others together.

    Args:
        x: (rows, *shape) floats, finite.

    Returns:
        loc and scale, (*shape,) float32. A column that never varies has scale 1; no |x - loc| exceeds 10,000 scales.
    """
    rows = x.flatten(1)
    low, high = _bounds(rows)
    chunks = torch.split(rows, max(1, _CHUNK // rows.shape[1]))
    count, mean, squares = 0, torch.zeros_like(low), torch.zeros_like(low)
    for chunk in chunks:  # Chan's update: sums of squares would cancel far from zero
        part = chunk.double().clamp(low, high)
        part_mean = part.mean(0)
        total = count + len(part)
        apart = part_mean - mean
        squares += (part - part_mean).square().sum(0) + apart.square() * (count * len(part) / total)
        mean += apart * (len(part) / total)
        count = total
    farthest = torch.stack([(chunk.double() - mean).abs().amax(0) for chunk in chunks]).amax(0)
    scale = torch.maximum((squares / count).sqrt(), farthest / MAX_STANDARDISED)
    scale = torch.where(scale > _TINY, scale, 1.0)
    return mean.float().view(x.shape[1:]), scale.float().view(x.shape[1:])


def tie_noise(x: Tensor) -> Tensor:
    """Return the noise that makes the density of columns with few distinct values finite.

    A density can rise without end on values that repeat: a constant, a flag, a small integer. Gaussian noise of a
    tenth of the smallest gap between two values, or of the standard deviation where that is smaller, bounds it, and
    rounding takes it away again.

    Args:
        x: (rows, *shape) floats, finite.

    Returns:
        Standard deviations (*shape,) float32, 0 where values hardly repeat; for a constant c they are 1e-5 |c|,
        or 1e-5 where c is 0.
    """
    some = _some(x.flatten(1))
    gaps = some.diff(dim=0)
    distinct = (gaps > 0).sum(0) + 1
    gap = torch.where(gaps > 0, gaps, inf).amin(0) if len(gaps) else torch.full_like(some[0], inf)
    constant, spread = some[0].abs(), some.std(0, correction=0)
    size = torch.where(distinct == 1, 1e-5 * torch.where(constant > 0, constant, 1.0), 0.1 * torch.minimum(gap, spread))
    is_few = (distinct == 1) | (distinct * REPEATS <= len(some))
    return torch.where(is_few, size, 0.0).float().view(x.shape[1:])


def _some(rows: Tensor) -> Tensor:
    """Return at most 65,536 evenly spaced rows, each column sorted, in float64."""
    return rows[:: -(-len(rows) // _ROWS)].double().sort(0).values


def _bounds(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return the range of each column (columns,) that is not clipped."""
    some = _some(rows)
    tail = int(QUANTILE * len(some))
    low, high = some[tail], some[len(some) - 1 - tail]
    reach = (high - low) / 2
    varies = reach > 0  # else all but a few are equal, and those few are all there is to see
    return torch.where(varies, low - reach, -inf), torch.where(varies, high + reach, inf)
