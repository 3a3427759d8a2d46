"""The layers of a gated PixelCNN: convolutions that see what comes before in raster order, and their two stacks."""

from typing import cast

from torch import Tensor, nn
from torch.nn import functional

from gentool.nn.blocks import linear
from gentool.nn.gates import gate


class Raster(nn.Conv2d):
    """A convolution over a part of the window around each pixel that lies before it; there is always a bias.

    Args:
        inputs: channels in.
        outputs: channels out.
        size: (rows, columns) of the part.
        gain: standard deviation of the output for inputs of unit second moment.
    """

    bias: Tensor

    def __init__(self, inputs: int, outputs: int, size: tuple[int, int], gain: float = 1.0) -> None:
        super().__init__(inputs, outputs, size)
        nn.init.normal_(self.weight, std=gain * (inputs * size[0] * size[1]) ** -0.5)
        nn.init.zeros_(self.bias)


class Above(Raster):
    """Sees the rows above its own, and its own too unless `strictly`: a window wide, half a window high.

    Args:
        inputs: channels in.
        outputs: channels out.
        window: odd side of the window.
        strictly: whether its own row is left out.
    """

    def __init__(self, inputs: int, outputs: int, window: int, *, strictly: bool) -> None:
        self.rows = window // 2 + (0 if strictly else 1)
        self.side, self.strictly = window // 2, strictly
        super().__init__(inputs, outputs, (self.rows, window))

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, inputs, height, width) to (batch, outputs, height, width)."""
        top, bottom = (self.rows, -1) if self.strictly else (self.rows - 1, 0)
        return super().forward(functional.pad(x, (self.side, self.side, top, bottom)))

    def row(self, rows: Tensor) -> Tensor:
        """Return one row, (n, outputs, 1, width), from the rows it sees, (n, inputs, rows, width)."""
        return super().forward(functional.pad(rows, (self.side, self.side)))


class Left(Raster):
    """Sees the pixels of the row to the left of its own, and its own too unless `strictly`: half a window.

    Args:
        inputs: channels in.
        outputs: channels out.
        window: odd side of the window.
        strictly: whether its own pixel is left out.
    """

    def __init__(self, inputs: int, outputs: int, window: int, *, strictly: bool) -> None:
        self.columns = window // 2 + (0 if strictly else 1)
        self.strictly = strictly
        super().__init__(inputs, outputs, (1, self.columns))

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, inputs, height, width) to (batch, outputs, height, width)."""
        left, right = (self.columns, -1) if self.strictly else (self.columns - 1, 0)
        return super().forward(functional.pad(x, (left, right)))


class Block(nn.Module):
    """One gated layer of both stacks: v <- v + gate(above(v)), h <- h + mix(gate(left(h) + down(above(v)))).

    The vertical stack v at a pixel knows the rows above; the horizontal h, besides, the pixels to the left. v never
    sees h, which knows pixels of its own row: so nothing leaks, and the two together leave nothing earlier unseen.

    Args:
        channels: of each stack.
        window: odd side of the square of which a pixel sees the earlier half.
        classes: number of classes of the labels given; 0 for none.
    """

    def __init__(self, channels: int, window: int, classes: int) -> None:
        super().__init__()
        self.above = Above(channels, 2 * channels, window, strictly=False)
        self.left = Left(channels, 2 * channels, window, strictly=False)
        self.down = Raster(2 * channels, 2 * channels, (1, 1))
        self.mix = Raster(channels, channels, (1, 1))
        self.label = linear(classes, 4 * channels, 1.0) if classes else None

    def forward(self, v: Tensor, h: Tensor, label: Tensor | None) -> tuple[Tensor, Tensor]:
        """Take both stacks, (batch, channels, height, width), one layer on.

        Args:
            v: the vertical stack.
            h: the horizontal stack.
            label: (batch, classes) indicators, or None.

        Returns:
            Both, of the same shape.
        """
        to_v, to_h = self.biases(label)
        seen = self.above(v)
        if to_v is not None:
            seen = seen + to_v
        beside = self.left(h) + self.down(seen)
        if to_h is not None:
            beside = beside + to_h
        return v + gate(seen), h + self.mix(gate(beside))

    def biases(self, label: Tensor | None) -> tuple[Tensor, Tensor] | tuple[None, None]:
        """Return what a label (n, classes) adds to the two stacks, (n, 2 channels, 1, 1) each."""
        if self.label is None:
            return None, None
        return cast(tuple[Tensor, Tensor], self.label(label)[..., None, None].chunk(2, 1))
