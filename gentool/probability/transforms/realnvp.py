"""RealNVP: alternating affine couplings, of points or of images at several scales."""

from collections.abc import Callable

from pydantic import PositiveFloat, PositiveInt
from torch import nn

from gentool.probability.transforms.actnorm import ActNorm
from gentool.probability.transforms.base import Compose, Flatten, Permute, Transform
from gentool.probability.transforms.coupling import AffineCouplings
from gentool.probability.transforms.prior import LearnedPrior
from gentool.probability.transforms.squeeze import MultiScale, Squeeze, halvings, squeezed
from gentool.space import DataSpace


def realnvp(
    space: DataSpace,
    classes: int,
    *,
    couplings: PositiveInt = 8,
    scales: PositiveInt = 3,
    bound: PositiveFloat = 2.0,
    network: Callable[..., nn.Module],
) -> Transform:
    """Stack couplings: over the entries of a vector; over an image's pixels, then its channels, at every scale.

    Points, and images whose sides are both odd, are vectors. Of an image, each scale halves the sides (those that are
    even), couples the two colours of a checkerboard, then channels, and lets half of the channels go.

    Args:
        space: the data's facts.
        classes: of the labels that networks see; 0 for none.
        couplings: alternating couplings: of points in all; of images over the pixels of each scale, and again over its
            channels.
        scales: the most scales that images get: each halves the sides and factors out half of the channels.
        bound: largest |log scale| of a coupling, > 0, so that neither direction overflows.
        network: builds the network of each coupling; see `AffineCouplings`.

    Returns:
        A transform of (batch, *space.shape) to (batch, dims).
    """
    if not space.is_image or halvings(space.shape) == (1, 1):
        parts: list[Transform] = [Flatten(space.shape), ActNorm(space.dims)]
        if space.dims > 1:
            parts.append(AffineCouplings((space.dims,), couplings, classes, bound, network))
        return Compose([*parts, LearnedPrior((space.dims,), classes)] if classes else parts)
    stages: list[Transform] = []
    shapes: list[tuple[int, ...]] = []
    shape: tuple[int, ...] = space.shape
    while len(stages) < scales and halvings(shape) != (1, 1):
        squeeze, shape = Squeeze(shape), squeezed(shape)
        channels = list(range(shape[0]))
        parts = [
            squeeze,
            ActNorm(shape[0]),
            AffineCouplings(shape, couplings, classes, bound, network),
            Permute(channels[0::2] + channels[1::2]),  # the two colours of the checkerboard are mixed in both halves
            AffineCouplings(shape, couplings, classes, bound, network),
        ]
        stages.append(Compose(parts))
        shapes.append(shape)
        shape = (shape[0] // 2, *shape[1:])
    top = MultiScale(stages, shapes)
    return Compose([top, LearnedPrior((space.dims,), classes)]) if classes else top
