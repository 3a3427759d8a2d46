"""Fully connected networks whose output at a dimension depends only on the dimensions drawn before it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import sqrt
from typing import Literal, cast

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from gentool.nn.blocks import OUTPUT_GAIN, Activation, activation, gain, one_hot
from gentool.nn.cut import Block, blocks_of, cut_linear
from gentool.nn.network import Network
from gentool.space import DataSpace

Order = Literal["raster", "reversed", "random", "agnostic"]


class MaskedLinear(nn.Module):
    """A linear layer with some connections cut: (weight * mask) x + bias, and an offset for each class.

    Weights start as N(0, gain² / fan-in), the fan-in being what the mask leaves of it.

    Args:
        mask: (outputs, inputs) of 0 and 1, at initialisation.
        classes: number of classes of the labels it is given; 0 for none.
        gain: standard deviation of the output for inputs of unit second moment.
    """

    def __init__(self, mask: Tensor, classes: int, gain: float) -> None:
        super().__init__()
        fan_in = mask.sum(1, keepdim=True).clamp(min=1)
        self.weight = nn.Parameter(torch.randn(mask.shape) * gain / fan_in.sqrt())
        self.bias = nn.Parameter(torch.zeros(len(mask)))
        self.label: nn.Parameter | None = None
        if classes:
            self.label = nn.Parameter(torch.randn(classes, len(mask)) * gain / sqrt(2))

    def forward(self, x: Tensor, mask: Tensor, blocks: Sequence[Block], label: Tensor | None) -> Tensor:
        """Map (batch, inputs), and (batch, classes) indicators where there are classes, to (batch, outputs)."""
        out = cut_linear(x, self.weight, mask, self.bias, blocks)
        return out if self.label is None or label is None else out + label @ self.label

    def offset(self, n: int, label: Tensor | None) -> Tensor:
        """Return what is added to each of n examples, (n, outputs), whatever x is."""
        offset = self.bias if self.label is None or label is None else self.bias + label @ self.label
        return offset.expand(n, -1)


@dataclass
class Progress:
    """What is kept while one dimension is drawn after the other: a hidden unit is computed once, when all it sees is.

    Attributes:
        x: (n, dims), the values drawn so far, zero elsewhere.
        hidden: (n, width) of each hidden layer: the units computed so far, zero elsewhere.
        weights: of each layer, cut.
        offsets: (n, outputs) of each layer: its bias and its label's offset.
        order: (dims,) flat indices in the order of drawing.
        units: of each hidden layer, the units of each degree from 1.
    """

    x: Tensor
    hidden: list[Tensor]
    weights: list[Tensor]
    offsets: list[Tensor]
    order: list[int]
    units: list[tuple[Tensor, ...]]


class MADE(nn.Module):
    """A masked autoencoder: output d is a function of the dimensions before d in an order, all outputs in one pass.

    Dimension d has its position in the order as its degree, 1 to D; a hidden unit of degree m, 1 to D - 1, sees what
    has a degree <= m, and output d sees the hidden units of a degree < d's. Several masks share the weights.

    Args:
        shape: of one x.
        outputs_per_dim: numbers for each dimension of x.
        classes: number of classes of the labels it is given; 0 for none.
        hidden_features: units of each hidden layer.
        activation_name: of the activation after each hidden layer.
        order: raster, reversed, random (one for all masks), or agnostic (each mask has its own).
        masks: 1: degrees spread evenly; more: each mask has degrees of its own, drawn once.
        direct: whether outputs also see the inputs before them directly.
        residual: whether a hidden layer is added to the one before it where both have the same width.
        last_gain: scale of the last layer's weights.

    Reference: MADE: Masked Autoencoder for Distribution Estimation, Germain, Gregor, Murray and Larochelle, 2015,
        https://arxiv.org/abs/1502.03509
    """

    position: Tensor
    degrees: Tensor

    def __init__(
        self,
        shape: tuple[int, ...],
        outputs_per_dim: int,
        classes: int,
        hidden_features: Sequence[int],
        activation_name: Activation,
        order: Order,
        masks: int,
        direct: bool,
        residual: bool,
        last_gain: float = OUTPUT_GAIN,
    ) -> None:
        super().__init__()
        self.shape, self.outputs_per_dim, self.classes, self.masks = shape, outputs_per_dim, classes, masks
        dims = torch.Size(shape).numel()
        self.widths = list(hidden_features) if dims > 1 else []  # one dimension sees nothing
        self.direct = direct and bool(self.widths)
        self.residual = [residual and a == b for a, b in zip([0, *self.widths], self.widths, strict=False)]
        self.register_buffer("position", torch.stack(_positions(order, dims, masks)))
        self.register_buffer("degrees", _degrees(self.widths, self.residual, dims, masks))
        self._worn: int | None = None
        cuts = self._cuts(0)
        gains = [gain(activation_name)] * len(self.widths) + [last_gain]
        self.layers = nn.ModuleList(MaskedLinear(m, classes, g) for m, g in zip(cuts, gains, strict=True))
        self.activation = activation(activation_name)
        # One mask is kept. Several are made when they are needed: kept, 32 of them would outweigh the weights by far.
        for i, cut in enumerate(cuts if masks == 1 else []):
            self.register_buffer(f"cut_{i}", cut, persistent=False)
        self.blocks = [blocks_of(cut) if masks == 1 else [(0, len(cut), 0, cut.shape[1])] for cut in cuts]

    @property
    def order(self) -> Tensor:
        """The flat indices (dims,) of the dimensions in the order of drawing, of the mask that is worn."""
        return self.position[self._worn or 0].argsort()

    @contextmanager
    def wearing(self, mask: int) -> Iterator[None]:
        """Inside, the network is that of one of its masks; outside, where there are several, each batch draws one."""
        before, self._worn = self._worn, mask
        try:
            yield
        finally:
            self._worn = before

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Map x, and labels where there are classes.

        Args:
            x: (batch, *shape), in model space.
            y: (batch,) int64 labels; None where `classes` is 0.

        Returns:
            (batch, outputs_per_dim, *shape).
        """
        h = x = x.flatten(1)
        drawn = self.masks > 1 and self._worn is None
        cuts = self._cuts(torch.randint(self.masks, ()) if drawn else self._worn)
        label = one_hot(y, self.classes, x) if self.classes and y is not None else None
        *hidden, last = self.layers
        for layer, cut, blocks, residual in zip(hidden, cuts, self.blocks, self.residual, strict=False):
            out = self.activation(layer(h, cut, blocks, label))
            h = h + out if residual else out
        if self.direct:
            h = torch.cat([h, x.to(h.dtype)], 1)
        outputs: Tensor = last(h, cuts[-1], self.blocks[-1], label)
        return outputs.view(len(x), self.outputs_per_dim, *self.shape)

    def _cuts(self, mask: Tensor | int | None) -> list[Tensor]:
        """Return the mask (outputs, inputs) of each layer, float of 0 and 1."""
        if hasattr(self, "cut_0"):
            return [self.get_buffer(f"cut_{i}") for i in range(len(self.widths) + 1)]
        position = self.position[mask]
        seen, cuts = position, []
        for degree in torch.split(self.degrees[mask], self.widths):
            cuts.append(degree[:, None] >= seen)
            seen = degree
        if self.direct:
            seen = torch.cat([seen, position])
        cuts.append((position[:, None] > seen).repeat(self.outputs_per_dim, 1))
        return [cut.float() for cut in cuts]

    def begin(self, n: int, y: Tensor | None, device: torch.device) -> Progress:
        """Start drawing n examples one dimension after the other.

        Args:
            n: examples.
            y: (n,) int64 labels; None where `classes` is 0.
            device: where to draw.

        Returns:
            What `step` keeps.
        """
        mask = self._worn or 0
        position, degrees = self.position[mask], self.degrees[mask]
        layers = cast(list[MaskedLinear], list(self.layers))
        label = one_hot(y, self.classes, layers[0].weight) if self.classes and y is not None else None
        dims, dtype = len(position), layers[0].weight.dtype
        return Progress(
            x=torch.zeros(n, dims, device=device, dtype=dtype),
            hidden=[torch.zeros(n, width, device=device, dtype=dtype) for width in self.widths],
            weights=[layer.weight * cut for layer, cut in zip(layers, self._cuts(mask), strict=True)],
            offsets=[layer.offset(n, label) for layer in layers],
            order=position.argsort().tolist(),
            units=[_by_degree(part, dims) for part in torch.split(degrees, self.widths)],
        )

    def step(self, state: Progress, i: int, x_prev: Tensor | None) -> Tensor:
        """Return what `forward` puts out at the i-th dimension of the order, given all before it.

        Args:
            state: of `begin`, changed in place.
            i: position in the order, 0, 1, … in turn.
            x_prev: (n,) the value of dimension i - 1 of the order in model space; None at 0.

        Returns:
            (n, outputs_per_dim).
        """
        dims = state.x.shape[1]
        below = state.x
        if x_prev is not None:
            state.x[:, state.order[i - 1]] = x_prev
            for layer, residual in enumerate(self.residual):
                units, h = state.units[layer][i - 1], state.hidden[layer]
                out = self.activation(below @ state.weights[layer][units].T + state.offsets[layer][:, units])
                h[:, units] = out + below[:, units] if residual else out
                below = h
        elif state.hidden:
            below = state.hidden[-1]
        if self.direct:
            below = torch.cat([below, state.x], 1)
        rows = slice(state.order[i], None, dims)
        return below @ state.weights[-1][rows].T + state.offsets[-1][:, rows]


def made(
    space: DataSpace,
    outputs_per_dim: int,
    classes: int,
    *,
    hidden_features: Sequence[PositiveInt] = (500,),
    activation: Activation = "relu",
    order: Order = "raster",
    masks: PositiveInt = 1,
    direct: bool = False,
    residual: bool = False,
) -> Network:
    """Build a MADE for data of any shape.

    Args:
        space: the data's facts.
        outputs_per_dim: numbers for each dimension of x.
        classes: number of classes of the labels given; 0 for none.
        hidden_features: units of each hidden layer, 1 or more.
        activation: relu, leaky_relu, elu, gelu, silu, softplus or tanh.
        order: of the dimensions: raster, reversed, random, or agnostic (each mask has its own).
        masks: masks of connections trained in turn, 1 or more; p(x) is their equally weighted mixture.
        direct: whether outputs are connected directly to the inputs before them, too.
        residual: whether a hidden layer is added to the one before it where both have the same width.

    Returns:
        A network with forward(x (batch, *space.shape), y (batch,) or None) -> (batch, outputs_per_dim, *space.shape).
    """
    sizes = (space.shape, outputs_per_dim, classes, hidden_features)
    return Network(MADE(*sizes, activation, order, masks, direct, residual))


def _positions(order: Order, dims: int, masks: int) -> list[Tensor]:
    """Return, of each mask, the position (dims,) of every dimension in the order, from 1."""
    if order == "agnostic":
        return [torch.randperm(dims) + 1 for _ in range(masks)]
    forward = torch.arange(1, dims + 1)
    one = {"raster": forward, "reversed": forward.flip(0)}.get(order)
    return [torch.randperm(dims) + 1 if one is None else one] * masks


def _degrees(widths: Sequence[int], residual: Sequence[bool], dims: int, masks: int) -> Tensor:
    """Return the degrees of all hidden units, (masks, sum of widths), each 1 to dims - 1."""
    rows = []
    for _ in range(masks):
        parts: list[Tensor] = []
        for width, kept in zip(widths, residual, strict=True):
            lowest = parts[-1].min() if parts else 1
            if kept:
                parts.append(parts[-1])  # what is added must not see more
            elif masks == 1:
                parts.append(1 + torch.arange(width) * (dims - 1) // width)
            else:  # never below what is there to be seen
                parts.append((lowest + torch.rand(width) * (dims - lowest)).long())
        rows.append(torch.cat([*parts, torch.empty(0, dtype=torch.int64)]))
    return torch.stack(rows)


def _by_degree(degrees: Tensor, dims: int) -> tuple[Tensor, ...]:
    """Return the indices of the units of degree 1, 2, …, dims - 1."""
    counts = torch.bincount(degrees, minlength=dims)[1:]
    return torch.split(degrees.argsort(stable=True), counts.tolist())
