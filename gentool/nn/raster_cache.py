"""A gated PixelCNN one pixel at a time: rows of the vertical stack are kept, and this row's pixels of the other."""

from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor
from torch.nn import functional

from gentool.nn.gates import gate
from gentool.nn.raster import Block, Raster

if TYPE_CHECKING:
    from gentool.nn.pixelcnn import PixelCNN


class RowCache:
    """What one block remembers: the rows above of its input to the vertical stack, this row's pixels of the other.

    Args:
        block: the block.
        n: images.
        width: pixels of a row.
        label: (n, classes) indicators, or None.
    """

    def __init__(self, block: Block, n: int, width: int, label: Tensor | None) -> None:
        self.block = block
        like, channels = block.mix.weight, block.mix.in_channels
        self.above = like.new_zeros(n, channels, block.above.rows, width)
        self.columns = block.left.columns
        self.beside = like.new_zeros(n, width + self.columns - 1, channels)
        biases: tuple[Tensor | None, Tensor | None] = block.biases(label)
        self.to_v, self.to_h = biases
        # One matrix for the window, (columns channels, 2 channels), and one for the way back, as addmm takes them.
        self.left = block.left.weight[:, :, 0].permute(2, 1, 0).reshape(-1, 2 * channels).contiguous()
        self.mix = block.mix.weight[:, :, 0, 0].T.contiguous()
        self.mix_bias = block.mix.bias
        self.down = like.new_zeros(width, n, 2 * channels)

    def row(self, v: Tensor) -> Tensor:
        """Take the next row of v, (n, channels, 1, width), through the vertical stack; make ready for its pixels."""
        self.above = torch.cat([self.above[:, :, 1:], v], 2)
        seen = self.block.above.row(self.above)
        if self.to_v is not None:
            seen = seen + self.to_v
        down = self.block.down(seen) + self.block.left.bias[:, None, None]
        if self.to_h is not None:
            down = down + self.to_h
        self.down = down[:, :, 0].permute(2, 0, 1).contiguous()
        return v + gate(seen)

    def pixel(self, h: Tensor, column: int) -> Tensor:
        """Take one pixel of h, (n, channels), through the horizontal stack."""
        self.beside[:, column + self.columns - 1] = h
        window = self.beside[:, column : column + self.columns].flatten(1)
        beside = gate(torch.addmm(self.down[column], window, self.left), 1)
        return torch.addmm(h + self.mix_bias, beside, self.mix)


class RasterCache:
    """What sampling n images remembers between two dimensions.

    Args:
        body: the network.
        n: images.
        label: (n, classes) indicators, or None.
    """

    def __init__(self, body: "PixelCNN", n: int, label: Tensor | None) -> None:
        self.body = body
        above, left = body.first_above, body.first_left
        self.top, self.columns = above.rows, left.columns
        like = body.place
        # The image so far, with the margins that the first layer sees beyond its edges.
        self.image = like.new_zeros(n, above.in_channels, self.top + body.height, self.columns + body.width)
        self.pixel = like.new_zeros(n, body.colours)
        self.blocks = [RowCache(cast(Block, block), n, body.width, label) for block in body.blocks]
        self.left = left.weight[:, :, 0].flatten(1).T.contiguous()
        self.offsets = body.place[1] + left.bias[:, None, None]
        # On one pixel a convolution is a matrix, without a convolution's price a call.
        self.head = [(layer.weight.flatten(1), layer.bias) for layer in body.head if isinstance(layer, Raster)]
        self.outputs = like.new_zeros(0)

    def put(self, i: int, x: Tensor) -> None:
        """Write down the value (n,) of the i-th dimension, as the body's forward sees it."""
        place, colour = divmod(i, self.body.colours)
        row, column = divmod(place, self.body.width)
        pixel = self.image[:, :, self.top + row, self.columns + column]
        if self.body.levels is None:
            pixel[:, colour] = x
            self.pixel[:, colour] = x
        else:
            pixel.copy_(self.body.levels(x))

    def get(self, i: int) -> Tensor:
        """Return the outputs (n, outputs_per_dim) of the i-th dimension, from those written down before it."""
        place, colour = divmod(i, self.body.colours)
        row, column = divmod(place, self.body.width)
        if colour == 0:
            if column == 0:
                self._row(row)
            self.outputs = self._pixel(row, column)
        outputs = self.outputs[:, colour]
        first = self.body.colours + colour * (colour - 1) // 2
        for earlier in range(colour):
            outputs = outputs + self.outputs[:, first + earlier] * self.pixel[:, earlier, None]
        return outputs

    def _row(self, row: int) -> None:
        body = self.body
        seen = self.image[:, :, row : row + self.top, self.columns :]
        v = body.first_above.row(seen) + body.place[0, :, row : row + 1]
        for block in self.blocks:
            v = block.row(v)

    def _pixel(self, row: int, column: int) -> Tensor:
        window = self.image[:, :, self.top + row, column : column + self.columns].flatten(1)
        h = torch.addmm(self.offsets[:, row, column], window, self.left)
        for block in self.blocks:
            h = block.pixel(h, column)
        for weight, bias in self.head:
            h = functional.linear(h.relu(), weight, bias)
        return h.reshape(len(h), -1, self.body.outputs_per_dim)
