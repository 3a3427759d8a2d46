"""Features of images by a formula: local means, and means of the moduli of wavelets of one and of two orders."""

from functools import cache
from math import cos, pi, sin

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d, conv2d, interpolate, pad

VERSION = "images-1"
"""Of the formula: numbers measured by different ones are never compared."""

LARGEST = 64
"""Height and width up to which an image is seen as it is; a larger one is averaged down to it."""

ENLARGED = 32
"""Images at most half as wide and high are enlarged, a whole number of times, to this size or less."""

SMALLEST = 8
"""Height and width of images from which three levels and a grid of them mean something."""

SCALES = 3
"""Levels of the pyramid."""

FILTERS = 5
"""Wavelets of a level: four angles, and checks."""

VISIBLE = 0.01
"""Moduli well below this count little: the eye does not see them in an image within [0, 1]."""

FAINT = 0.001
"""The same for moduli of moduli."""

OPPONENT = [[0.3, 0.6, 0.1], [0.5, -0.5, 0.0], [-0.3, -0.3, 0.6]]
"""Brightness, red minus green, blue minus yellow."""

GRID, FIRST, SECOND = 0.17, 0.025, 0.0045
"""Deviations of a mean, a modulus and a modulus of a modulus of brightness, about those over CIFAR-10's images and over
drawn ones. Colour differences have half of them, checks an eighth."""


def resized(x: Tensor) -> Tensor:
    """Return images at a size that filters of 7 x 7 pixels suit: averaged down to 64, or enlarged up to 32.

    Args:
        x: (n, channels, height, width).

    Returns:
        (n, channels, h, w), its proportions kept where no side gets below 8.
    """
    height, width = x.shape[-2:]
    longest = max(height, width)
    if longest > LARGEST:
        h, w = (max(SMALLEST, round(side * LARGEST / longest)) for side in (height, width))
        return adaptive_avg_pool2d(x, (h, w))
    factor = ENLARGED // longest
    return interpolate(x, scale_factor=factor, mode="nearest") if factor > 1 else x


@cache
def wavelets() -> Tensor:
    """Return (10, 1, 7, 7): even and odd filters of four angles and of checks, under a window of sum 1."""
    axis = torch.arange(-3.0, 4.0)
    v, u = torch.meshgrid(axis, axis, indexing="ij")
    window = torch.exp(-(u.square() + v.square()) / 2)
    window = window / window.sum()
    filters = []
    for angle in (0, pi / 4, pi / 2, 3 * pi / 4):
        along = 0.6 * pi * (u * cos(angle) + v * sin(angle))
        even = window * along.cos()
        filters += [2 * (even - window * even.sum()), 2 * window * along.sin()]
    checks = window * (pi * u).cos() * (pi * v).cos()
    return torch.stack([*filters, checks, torch.zeros_like(checks)])[:, None]


def moduli(x: Tensor, least: float) -> Tensor:
    """Return (n, c, 5, h, w), the moduli r of the wavelets' responses as √(r² + least²) - least, of x (n, c, h, w)."""
    n, c, h, w = x.shape
    x = pad(x.reshape(n * c, 1, h, w), (3,) * 4, mode="replicate")
    pair = conv2d(x, wavelets()).view(n, c, FILTERS, 2, h, w)
    return pair.square().sum(3).add(least**2).sqrt() - least


def features(x: Tensor) -> Tensor:
    """Return the features of images of any size, each in units of its usual deviation.

    On brightness and two colour differences: means over a 4 x 4 grid; of the moduli |x * w| of five wavelets w on three
    levels of a pyramid, means over a 2 x 2 grid; of the moduli of brightness's moduli, ||x * w| * w'| on a coarser
    level, means over the image. A number for each colour, wavelet, level and place.

    Args:
        x: (n, 1 or 3, height, width) in [0, 1]; grey images are taken for colour ones of three equal channels.

    Returns:
        (n, 303) float32, of images alone: no batch, no data set and no weights are in them.

    Reference: Invariant Scattering Convolution Networks, Joan Bruna and Stéphane Mallat, 2013,
        https://arxiv.org/abs/1203.1513
    """
    x = torch.einsum("oc,nchw->nohw", torch.tensor(OPPONENT), resized(x).expand(-1, 3, -1, -1) - 0.5)
    colour = torch.tensor([1.0, 0.5, 0.5])[:, None]
    angles = torch.tensor([1.0, 1.0, 1.0, 1.0, 0.125])[:, None]
    found = [adaptive_avg_pool2d(x, 4).flatten(2) / (GRID * colour)]
    for scale in range(SCALES):
        first = moduli(avg_pool2d(x, 2**scale) if scale else x, VISIBLE)
        means = adaptive_avg_pool2d(first.flatten(1, 2), 2).view(len(x), 3, FILTERS, 4)
        found.append(means / (FIRST * colour[:, None] * angles))
        for coarser in range(1, SCALES - scale):
            second = moduli(avg_pool2d(first[:, 0], 2**coarser), FAINT)
            found.append(second.mean((3, 4)) / (SECOND * angles[:, 0]))
    return torch.cat([group.flatten(1) for group in found], 1)
