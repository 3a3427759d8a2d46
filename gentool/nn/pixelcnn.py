"""The gated PixelCNN: every pixel sees all pixels before it in raster order, and none after."""

from typing import Annotated

import torch
from pydantic import AfterValidator, NonNegativeInt, PositiveInt
from torch import Tensor, nn

from gentool.errors import UsageError
from gentool.nn.blocks import OUTPUT_GAIN, gain, one_hot
from gentool.nn.network import Network
from gentool.nn.raster import Above, Block, Left, Raster
from gentool.nn.raster_cache import RasterCache
from gentool.space import DataSpace


def _odd(size: int) -> int:
    if size % 2 == 0:
        raise ValueError("expected an odd number: a window has a middle")
    return size


Window = Annotated[PositiveInt, AfterValidator(_odd)]


def pixelcnn(
    space: DataSpace,
    outputs_per_dim: int,
    classes: int,
    *,
    channels: PositiveInt = 32,
    blocks: PositiveInt = 8,
    window: Window = 5,
    first_window: Window = 7,
    head_channels: PositiveInt = 64,
    embedding: NonNegativeInt = 0,
) -> Network:
    """Build a gated PixelCNN.

    Args:
        space: the data's facts.
        outputs_per_dim: numbers for each dimension of x.
        classes: number of classes of the labels given; 0 for none.
        channels: of each of the two stacks; the paper's size is 16 on small images and more on larger ones.
        blocks: residual blocks; each widens the receptive field by half a window to the left, above and to the upper
            right.
        window: side of the square around a pixel of which a block sees the earlier half, odd.
        first_window: that side for the first layer, odd.
        head_channels: of the layer between the last block and the outputs.
        embedding: features that embed a level, where levels have no order (codes); 0: a level enters as one number.

    Returns:
        A network with forward(x (batch, *space.shape), y (batch,) or None) -> (batch, outputs_per_dim, *space.shape).

    Raises:
        UsageError: on data that is no images.
    """
    if not space.is_image:
        raise UsageError(f"a PixelCNN needs images, and x has shape {space.shape}: choose model=made")
    if embedding and (space.levels is None or space.shape[0] != 1):
        raise UsageError(f"embedding={embedding} needs images of one channel of integer levels; set it to 0")
    body = PixelCNN(space, outputs_per_dim, classes, channels, blocks, window, first_window, head_channels, embedding)
    return Network(body)


class PixelCNN(nn.Module):
    """Two stacks of convolutions, a head, and the colours of a pixel in turn.

    The head gives, for each pixel from those before it, outputs o_c of each colour c, and coefficients A_cd; the
    outputs of colour c are o_c + sum_{d<c} A_cd x_d, linear in the earlier colours x_d of the pixel itself.

    Args:
        space: the data's facts.
        outputs_per_dim: numbers for each dimension of x.
        classes: number of classes of the labels given; 0 for none.
        channels: of each stack.
        blocks: residual blocks.
        window: of each block.
        first_window: of the first layer.
        head_channels: of the two last layers.
        embedding: numbers a level is looked up as; 0 for none.

    Attributes:
        order: (dims,) flat indices: pixel after pixel in raster order, the colours of each in turn.
        takes_tokens: whether x comes as int64 levels.

    Reference: Conditional Image Generation with PixelCNN Decoders, van den Oord, Kalchbrenner, Vinyals, Espeholt,
        Graves and Kavukcuoglu, 2016, https://arxiv.org/abs/1606.05328
    """

    order: Tensor

    def __init__(
        self,
        space: DataSpace,
        outputs_per_dim: int,
        classes: int,
        channels: int,
        blocks: int,
        window: int,
        first_window: int,
        head_channels: int,
        embedding: int,
    ) -> None:
        super().__init__()
        self.colours, self.height, self.width = space.shape
        self.outputs_per_dim, self.classes = outputs_per_dim, classes
        self.takes_tokens = embedding > 0
        self.levels = nn.Embedding(space.levels or 0, embedding) if embedding else None
        inputs = embedding or self.colours
        self.first_above = Above(inputs, channels, first_window, strictly=True)
        self.first_left = Left(inputs, channels, first_window, strictly=True)
        # Convolutions alone know where they are by the padding only.
        self.place = nn.Parameter(torch.zeros(2, channels, self.height, self.width))
        self.blocks = nn.ModuleList(Block(channels, window, classes) for _ in range(blocks))
        pairs = self.colours * (self.colours - 1) // 2
        self.head = nn.Sequential(
            nn.ReLU(),
            Raster(channels, head_channels, (1, 1), gain("relu")),
            nn.ReLU(),
            Raster(head_channels, outputs_per_dim * (self.colours + pairs), (1, 1), OUTPUT_GAIN),
        )
        order = torch.arange(space.dims).view(self.colours, -1).T.flatten()
        self.register_buffer("order", order, persistent=False)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Map images to outputs of which each depends on earlier dimensions alone.

        Args:
            x: (batch, colours, height, width), in model space, or int64 levels where `takes_tokens`.
            y: (batch,) int64 labels where there are classes.

        Returns:
            (batch, outputs_per_dim, colours, height, width).
        """
        seen = self._embedded(x)
        v = self.first_above(seen) + self.place[0]
        h = self.first_left(seen) + self.place[1]
        label = self.label(y, v)
        for block in self.blocks:
            v, h = block(v, h, label)
        outputs = self.head(h).unflatten(1, (-1, self.outputs_per_dim))
        return self.coloured(outputs, x).transpose(1, 2)

    def label(self, y: Tensor | None, like: Tensor) -> Tensor | None:
        """Return (batch, classes) indicators of the labels, None where there are no classes."""
        if not self.classes:
            return None
        assert y is not None, "a network with classes needs labels"
        return one_hot(y, self.classes, like)

    def coloured(self, outputs: Tensor, x: Tensor) -> Tensor:
        """Return o_c + sum_{d<c} A_cd x_d.

        Args:
            outputs: (batch, colours + pairs, outputs_per_dim, …), the o_c and then the A_cd.
            x: (batch, colours, …).

        Returns:
            (batch, colours, outputs_per_dim, …).
        """
        own = list(outputs[:, : self.colours].unbind(1))
        pair = self.colours
        for c in range(1, self.colours):
            for d in range(c):
                own[c] = own[c] + outputs[:, pair] * x[:, d, None]
                pair += 1
        return torch.stack(own, 1)

    def _embedded(self, x: Tensor) -> Tensor:
        if self.levels is None:
            return x
        found: Tensor = self.levels(x[:, 0])
        return found.movedim(-1, 1)

    def begin(self, n: int, y: Tensor | None, device: torch.device) -> RasterCache:
        """Return what sampling n images remembers; see `models.autoregressive.Cached`."""
        return RasterCache(self, n, self.label(y, self.place))

    def step(self, state: RasterCache, i: int, x_prev: Tensor | None) -> Tensor:
        """Return the outputs (n, outputs_per_dim) of the i-th dimension, where the one before has the value x_prev."""
        if x_prev is not None:
            state.put(i - 1, x_prev)
        return state.get(i)
