"""x as a sequence: what a network that goes from dimension to dimension sees of the one before."""

import torch
from torch import Tensor, nn

from gentool.space import DataSpace


def raster(space: DataSpace) -> Tensor:
    """Return (dims,) int64 flat indices from first to last; of images row by row, the channels of a pixel together."""
    flat = torch.arange(space.dims)
    return flat.view(space.shape).permute(1, 2, 0).flatten() if space.is_image else flat


class Sequence(nn.Module):
    """Inputs a_i = embed(x_{i-1}) + label(y), with a learned embed(x_{-1}), in the order the dimensions are drawn.

    Text and points go from first to last; images row by row, the channels of a pixel together.

    Args:
        space: the data's facts; integer levels are embedded, reals enter as one number in model space.
        features: width of an input.
        classes: number of classes of the labels; 0 for none.
        std: standard deviation of embeddings at the start.

    Attributes:
        order: (dims,) int64, the flat index of the dimension drawn at each step.
    """

    order: Tensor
    place: Tensor

    def __init__(self, space: DataSpace, features: int, classes: int, std: float) -> None:
        super().__init__()
        self.shape = space.shape
        self.takes_tokens = space.levels is not None
        order = raster(space)
        self.register_buffer("order", order, persistent=False)
        self.register_buffer("place", order.argsort(), persistent=False)
        self.embed = nn.Linear(1, features) if space.levels is None else nn.Embedding(space.levels, features)
        self.first = nn.Parameter(std * torch.randn(features))
        self.label = nn.Embedding(classes, features) if classes else None
        if space.levels is not None:
            nn.init.normal_(self.embed.weight, std=std)
        if self.label is not None:
            nn.init.normal_(self.label.weight, std=std)

    def inputs(self, x: Tensor, y: Tensor | None) -> Tensor:
        """Return (batch, dims, features) of x (batch, *shape) and labels (batch,) or None."""
        first = self.first.expand(len(x), 1, -1)
        return torch.cat([first, self._embedded(x.flatten(1)[:, self.order[:-1]])], 1) + self.labels(y).unsqueeze(-2)

    def input(self, x_prev: Tensor | None, labels: Tensor) -> Tensor:
        """Return (n, features), what follows a dimension's value (n,), None at the first; `labels` of `labels(y)`."""
        return (self.first if x_prev is None else self._embedded(x_prev)) + labels

    def labels(self, y: Tensor | None) -> Tensor:
        """Return (n, features), what labels (n,) add to every input; of no labels a zero (1,)."""
        if self.label is None:
            return self.first.new_zeros(1)
        out: Tensor = self.label(y)
        return out

    def outputs(self, h: Tensor) -> Tensor:
        """Set (batch, dims, outputs_per_dim), in the order of drawing, into the shape (batch, …, *shape) of x."""
        return h[:, self.place].transpose(1, 2).reshape(len(h), -1, *self.shape)

    def _embedded(self, x: Tensor) -> Tensor:
        out: Tensor = self.embed(x if self.takes_tokens else x.unsqueeze(-1))
        return out
