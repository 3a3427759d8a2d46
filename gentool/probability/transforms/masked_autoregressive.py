"""Masked autoregressive flows: each dimension is moved as those before it say; and the flows built of that."""

from collections.abc import Callable
from typing import Annotated, Any, Literal, Protocol

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor

from gentool.probability.transforms.actnorm import ActNorm
from gentool.probability.transforms.base import Compose, Flatten, Transform
from gentool.probability.transforms.spline import Affine, Coupling, Elementwise, Spline
from gentool.space import DataSpace


class Conditioner(Protocol):
    """A network whose outputs at a dimension see only the dimensions before it in `order`; see `nn.masked.MADE`."""

    order: Tensor

    def __call__(self, x: Tensor, y: Tensor | None) -> Tensor:
        """Return (batch, outputs_per_dim, dims) of x (batch, dims)."""
        ...

    def begin(self, n: int, y: Tensor | None, device: torch.device) -> Any:
        """Return what is remembered before the first dimension of n examples."""
        ...

    def step(self, state: Any, i: int, x_prev: Tensor | None) -> Tensor:
        """Return (n, outputs_per_dim) at the i-th dimension in the order, given the value of the one before."""
        ...


Order = Literal["raster", "reversed"]
MakeConditioner = Callable[[int, int, int, Order | None], Any]
"""(dims, outputs_per_dim, classes, order) -> a `Conditioner`; with order None a plain network, as couplings need."""


class MaskedAutoregressive(Transform):
    """z_i = f(x_i; theta_i(x_<i)) in an order: one pass of the network forward, dims small steps of it back.

    The inverse computes every hidden unit once, when all it sees is known, so that drawing one example takes as many
    operations as one forward pass, in dims pieces.

    Args:
        dims: of one x.
        order: of the dimensions.
        elementwise: how a dimension is moved.
        classes: of the labels that the network sees; 0 for none.
        network: makes the network.

    Reference: Masked Autoregressive Flow for Density Estimation, George Papamakarios, Theo Pavlakou and Iain Murray,
        2017, https://arxiv.org/abs/1705.07057
    """

    def __init__(
        self, dims: int, order: Order, elementwise: Elementwise, classes: int, network: MakeConditioner
    ) -> None:
        super().__init__()
        self.elementwise = elementwise
        self.network = network(dims, elementwise.parameters, classes, order)

    def forward_and_log_det(self, x: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Move all dimensions at once; the Jacobian is triangular, so log |det| is the sum of the log-slopes."""
        theta = self.network(x, y).transpose(0, 1).contiguous()
        z, log_slope = self.elementwise.forward(x, theta)
        return z, log_slope.sum(1)

    @torch.no_grad()
    def inverse_and_log_det(self, z: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Move the dimensions back one after the other; nothing is differentiated through this."""
        x, log_slope = torch.empty_like(z), torch.empty_like(z)
        state, seen = self.network.begin(len(z), y, z.device), None
        for i, dim in enumerate(self.network.order.tolist()):
            theta = self.network.step(state, i, seen).T.contiguous()
            seen, log_slope[:, dim] = self.elementwise.inverse(z[:, dim], theta)
            x[:, dim] = seen
        return x, log_slope.sum(1)


def maf(
    space: DataSpace, classes: int, *, blocks: PositiveInt = 5, bound: PositiveFloat = 4.0, network: MakeConditioner
) -> Transform:
    """Stack affine masked autoregressive transforms, each after an ActNorm, in alternating orders.

    Args:
        space: the data's facts; x is read as a vector.
        classes: of the labels that networks see; 0 for none.
        blocks: autoregressive transforms in alternating orders, 1 or more.
        bound: largest |log scale| of a transform, > 0, so that neither direction overflows.
        network: builds the network of each transform; see `MakeConditioner`.

    Returns:
        A transform of (batch, *space.shape) to (batch, dims).
    """
    return Compose([Flatten(space.shape), *_autoregressive(space.dims, blocks, Affine(bound), classes, network)])


def nsf(
    space: DataSpace,
    classes: int,
    *,
    kind: Literal["autoregressive", "coupling"] = "autoregressive",
    blocks: PositiveInt = 3,
    bins: Annotated[int, Field(ge=2)] = 8,
    bound: PositiveFloat = 5.0,
    network: MakeConditioner,
) -> Transform:
    """Stack rational-quadratic splines, each after an ActNorm: autoregressive in alternating orders, or couplings.

    Args:
        space: the data's facts; x is read as a vector.
        classes: of the labels that networks see; 0 for none.
        kind: autoregressive: a block moves each dimension given those before it, and samples them one by one; coupling:
            one half given the other.
        blocks: spline transforms in alternating orders, 1 or more; of couplings each block moves both halves.
        bins: bins of a spline, 2 or more.
        bound: a spline covers [-bound, bound], > 0, and is the identity beyond.
        network: builds the network of each transform; see `MakeConditioner`.

    Returns:
        A transform of (batch, *space.shape) to (batch, dims).
    """
    spline, dims = Spline(bins, bound), space.dims
    if kind == "autoregressive" or dims == 1:
        return Compose([Flatten(space.shape), *_autoregressive(dims, blocks, spline, classes, network)])
    parts: list[Transform] = [Flatten(space.shape)]
    for _ in range(blocks):
        parts.append(ActNorm(dims))
        parts += [Coupling(dims, first, spline, classes, network) for first in (False, True)]
    return Compose(parts)


def _autoregressive(
    dims: int, blocks: int, elementwise: Elementwise, classes: int, network: MakeConditioner
) -> list[Transform]:
    parts: list[Transform] = []
    for i in range(blocks):
        order: Order = "reversed" if i % 2 else "raster"
        parts += [ActNorm(dims), MaskedAutoregressive(dims, order, elementwise, classes, network)]
    return parts
