"""Glow: activation normalisation, an invertible 1x1 convolution and an affine coupling, K times at each of L scales."""

from collections.abc import Callable, Sequence

from pydantic import PositiveFloat, PositiveInt
from torch import Tensor, nn

from gentool.probability.transforms.actnorm import ActNorm
from gentool.probability.transforms.base import Compose, Flatten, Transform
from gentool.probability.transforms.coupling import AffineCouplings
from gentool.probability.transforms.invertible_linear import InvertibleLinear
from gentool.probability.transforms.prior import LearnedPrior
from gentool.probability.transforms.squeeze import MultiScale, Squeeze, halvings, squeezed
from gentool.space import DataSpace


class SplitPrior(nn.Module):
    """The mean and log scale of the channels that leave, given those that stay: a 3x3 convolution that starts at zero.

    As the network of one more coupling it turns p(leaving | staying) = N(mu, sigma²) into N(0, 1).

    Args:
        shape: (channels, height, width) of what stays.
        outputs: channels out.
        classes: unused: the couplings before it see the label.
    """

    def __init__(self, shape: Sequence[int], outputs: int, classes: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(shape[0], outputs, 3, padding=1)
        nn.init.zeros_(self.conv.weight)
        assert self.conv.bias is not None
        nn.init.zeros_(self.conv.bias)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Map (batch, *shape) to (batch, outputs, height, width)."""
        out: Tensor = self.conv(x)
        return out


def glow(
    space: DataSpace,
    classes: int,
    *,
    steps: PositiveInt = 8,
    scales: PositiveInt = 3,
    bound: PositiveFloat = 2.0,
    network: Callable[..., nn.Module],
) -> Transform:
    """Stack steps of flow; points, and images whose sides are both odd, are vectors of one scale.

    Args:
        space: the data's facts.
        classes: of the labels that networks and the last prior see; 0 for none.
        steps: K, steps of flow (actnorm, 1x1 convolution, coupling) at each scale; the paper has 32.
        scales: L, the most scales that images get: each halves the sides and factors out half of the channels.
        bound: largest |log scale| of a coupling, > 0, so that neither direction overflows.
        network: builds the network of each coupling; see `AffineCouplings`.

    Returns:
        A transform of (batch, *space.shape) to (batch, dims).
    """
    if not space.is_image or halvings(space.shape) == (1, 1):
        vector = (space.dims,)
        prior = LearnedPrior(vector, classes)
        return Compose([Flatten(space.shape), *_steps(vector, steps, classes, bound, network), prior])
    stages: list[Transform] = []
    shapes: list[tuple[int, ...]] = []
    image: tuple[int, ...] = space.shape
    while len(stages) < scales and halvings(image) != (1, 1):
        squeeze, image = Squeeze(image), squeezed(image)
        stages.append(Compose([squeeze, *_steps(image, steps, classes, bound, network)]))
        shapes.append(image)
        image = (image[0] // 2, *image[1:])
    for i, shape in enumerate(shapes[:-1]):
        stages[i] = Compose([stages[i], AffineCouplings(shape, 1, 0, bound, SplitPrior)])
    stages[-1] = Compose([stages[-1], LearnedPrior(shapes[-1], classes)])
    return MultiScale(stages, shapes)


def _steps(
    shape: Sequence[int], steps: int, classes: int, bound: float, network: Callable[..., nn.Module]
) -> list[Transform]:
    found: list[Transform] = []
    for _ in range(steps):
        found.append(ActNorm(shape[0]))
        if shape[0] > 1:
            coupling = AffineCouplings(shape, 1, classes, bound, network)
            found += [InvertibleLinear(shape[0]), coupling]
    return found
