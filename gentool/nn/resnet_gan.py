"""The residual generator and critic of SNGAN, for images of any size and number of channels."""

from collections.abc import Sequence
from math import sqrt

from torch import Tensor, nn
from torch.nn import functional

from gentool.nn.blocks import conv
from gentool.nn.conv import pyramid
from gentool.nn.dcgan import labelled
from gentool.nn.linear import Linear


class ResNetGenerator(nn.Module):
    """A linear map to a small image of features, residual blocks that double its sides, and a convolution to x.

    Args:
        latent_dim: of z.
        hidden_channels: channels of each stage in the critic's order, so used from the last to the first.
        shape: (channels, height, width) out.
        classes: number of classes of the labels it is given; 0 for none.

    Reference: Spectral Normalization for Generative Adversarial Networks, Takeru Miyato et al., 2018,
        https://arxiv.org/abs/1802.05957
    """

    def __init__(
        self, latent_dim: int, hidden_channels: Sequence[int], shape: tuple[int, int, int], classes: int
    ) -> None:
        super().__init__()
        self.classes = classes
        sizes = pyramid((shape[1], shape[2]), len(hidden_channels))[::-1]
        widths = [*reversed(hidden_channels), hidden_channels[0]]  # the last block keeps its width at full size
        self.base = (widths[0], *sizes[0])
        self.stem = Linear(latent_dim + classes, widths[0] * sizes[0][0] * sizes[0][1])
        blocks = [_Up(*sides) for sides in zip(widths, widths[1:], sizes[1:], strict=False)]
        last = [nn.BatchNorm2d(widths[-1]), nn.ReLU(), conv(widths[-1], shape[0], 1, 1.0)]
        self.layers = nn.Sequential(*blocks, *last)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Map (batch, latent_dim), and (batch,) labels where there are classes, to (batch, *shape)."""
        out: Tensor = self.layers(self.stem(labelled(z, y, self.classes)).unflatten(1, self.base))
        return out


class ResNetFeatures(nn.Module):
    """Residual blocks that halve the sides, blocks that keep them, and a sum over places: a critic but its last layer.

    Args:
        shape: (channels, height, width) of x.
        hidden_channels: channels of each stage; each halves the image's sides, rounding up.
        blocks: residual blocks after the stages.

    Attributes:
        features: numbers out.
    """

    def __init__(self, shape: tuple[int, int, int], hidden_channels: Sequence[int], blocks: int) -> None:
        super().__init__()
        widths = [shape[0], *hidden_channels]
        self.features = widths[-1]
        stages = [
            _Down(inputs, outputs, halves=True, first=i == 0)
            for i, (inputs, outputs) in enumerate(zip(widths, hidden_channels, strict=False))
        ]
        flat = [_Down(widths[-1], widths[-1], halves=False, first=False) for _ in range(blocks)]
        self.layers = nn.Sequential(*stages, *flat, nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, *shape) to (batch, features)."""
        out: Tensor = self.layers(x).sum((2, 3))
        return out


class _Up(nn.Module):
    """skip(up(x)) + conv(relu(bn(conv(up(relu(bn(x))))))), `up` to a given size."""

    def __init__(self, inputs: int, outputs: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size
        self.before = nn.Sequential(nn.BatchNorm2d(inputs), nn.ReLU())
        self.after = nn.Sequential(
            conv(inputs, outputs, 1, sqrt(2)), nn.BatchNorm2d(outputs), nn.ReLU(), conv(outputs, outputs, 1, sqrt(2))
        )
        self.skip = _pointwise(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        h: Tensor = self.after(functional.interpolate(self.before(x), self.size))
        # a pointwise map and copying pixels commute, and there are fewer pixels before
        return h + functional.interpolate(self.skip(x), self.size)


class _Down(nn.Module):
    """pool(skip(x)) + pool(conv(relu(conv(relu(x))))); the first block sees pixels, not their positive part."""

    def __init__(self, inputs: int, outputs: int, *, halves: bool, first: bool) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *([] if first else [nn.ReLU()]),
            conv(inputs, outputs, 1, sqrt(2)),
            nn.ReLU(),
            conv(outputs, outputs, 1, sqrt(2)),
        )
        self.pool = nn.AvgPool2d(2, ceil_mode=True, count_include_pad=False) if halves else nn.Identity()
        self.skip = _pointwise(inputs, outputs) if halves or inputs != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.pool(self.layers(x)) + self.skip(self.pool(x))
        return out


def _pointwise(inputs: int, outputs: int) -> nn.Conv2d:
    layer = nn.Conv2d(inputs, outputs, 1)
    nn.init.normal_(layer.weight, std=1 / sqrt(inputs))
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer
