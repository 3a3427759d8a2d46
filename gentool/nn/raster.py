"""The layers of a gated PixelCNN: convolutions that see what comes before in raster order, and their two stacks."""

from torch import Tensor, nn
from torch.nn import functional

from gentool.nn.blocks import linear
from gentool.nn.gates import gate


class Above(nn.Conv2d):
    """A convolution over the `rows` rows that end with its own (`below=0`) or end one above it (`below=1`)."""

    def __init__(self, inputs: int, outputs: int, window: int, *, strictly: bool) -> None:
        rows = window // 2 + (0 if strictly else 1)
        super().__init__(inputs, outputs, (rows, window))
        nn.init.normal_(self.weight, std=(inputs * rows * window) ** -0.5)
        nn.init.zeros_(self.bias)
        self.rows, self.side, self.strictly = rows, window // 2, strictly

    def forward(self, x: Tensor) -> Tensor:
        top = self.rows if self.strictly else self.rows - 1
        x = functional.pad(x, (self.side, self.side, top, -1 if self.strictly else 0))
        return super().forward(x)

    def row(self, rows: Tensor) -> Tensor:
        """Return one row, (n, outputs, 1, width), from the `rows` rows it sees, (n, inputs, rows, width)."""
        return super().forward(functional.pad(rows, (self.side, self.side)))


class Left(nn.Conv2d):
    """A convolution over the pixels of the row up to its own, or strictly before it."""

    def __init__(self, inputs: int, outputs: int, window: int, *, strictly: bool) -> None:
        columns = window // 2 + (0 if strictly else 1)
        super().__init__(inputs, outputs, (1, columns))
        nn.init.normal_(self.weight, std=(inputs * columns) ** -0.5)
        nn.init.zeros_(self.bias)
        self.columns, self.strictly = columns, strictly

    def forward(self, x: Tensor) -> Tensor:
        left = self.columns if self.strictly else self.columns - 1
        return super().forward(functional.pad(x, (left, -1 if self.strictly else 0)))


class Block(nn.Module):
    """One gated layer of both stacks: v <- v + gate(above(v)), h <- h + mix(gate(left(h) + down(above(v)))).

    The vertical stack v at a pixel knows the rows above; the horizontal h, besides, the pixels to the left. What v
    hands down has not seen h: so nothing later leaks, and nothing earlier is blind.
    """

    def __init__(self, channels: int, window: int, classes: int) -> None:
        super().__init__()
        self.above = Above(channels, 2 * channels, window, strictly=False)
        self.left = Left(channels, 2 * channels, window, strictly=False)
        self.down = pointwise(2 * channels, 2 * channels, 1.0)
        self.mix = pointwise(channels, channels, 1.0)
        self.label = linear(classes, 4 * channels, 1.0) if classes else None

    def forward(self, v: Tensor, h: Tensor, label: Tensor | None) -> tuple[Tensor, Tensor]:
        seen = self.above(v)
        to_v, to_h = self.biases(label)
        if to_v is not None:
            seen = seen + to_v
        beside = self.left(h) + self.down(seen)
        if to_h is not None:
            beside = beside + to_h
        return v + gate(seen), h + self.mix(gate(beside))

    def biases(self, label: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        """Return what a label (n, classes) adds to either stack, (n, 2 channels, 1, 1)."""
        if self.label is None:
            return None, None
        to_v, to_h = self.label(label)[..., None, None].chunk(2, 1)
        return to_v, to_h


def pointwise(inputs: int, outputs: int, gain: float) -> nn.Conv2d:
    layer = nn.Conv2d(inputs, outputs, 1)
    nn.init.normal_(layer.weight, std=gain * inputs**-0.5)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer
