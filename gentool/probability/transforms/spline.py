"""Monotonic rational-quadratic splines, and what is moved by an affine map or such a spline one dimension at a time."""

from collections.abc import Callable
from math import expm1, log
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from gentool.probability.transforms.base import Transform

SMALLEST = 1e-3
"""Least width and height of a bin, as a share of the interval, and least slope at a knot."""

_IDENTITY = log(expm1(1 - SMALLEST))  # softplus of it and SMALLEST make a slope of 1


class Elementwise(Protocol):
    """An increasing map of each number by itself, told by `parameters` numbers; all of them 0 give the identity.

    Parameters come on the first axis, (parameters, *x.shape): every operation then runs along whole batches.

    Attributes:
        parameters: how many a number needs.
    """

    parameters: int

    def forward(self, x: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Return z and log dz/dx, each shaped as x."""
        ...

    def inverse(self, z: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Return x and log dx/dz, each shaped as z."""
        ...


class Affine:
    """z = x exp(s) + t, with s = bound tanh(theta_0 / bound) and t = theta_1, so that neither direction overflows.

    Args:
        bound: largest |s|, > 0.
    """

    parameters = 2

    def __init__(self, bound: float) -> None:
        self.bound = bound

    def forward(self, x: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Scale, then shift."""
        s = self.bound * (theta[0] / self.bound).tanh()
        return torch.addcmul(theta[1], x, s.exp()), s

    def inverse(self, z: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Undo the shift, then the scale."""
        s = self.bound * (theta[0] / self.bound).tanh()
        return (z - theta[1]) * (-s).exp(), -s


class Spline:
    """A monotonic rational-quadratic spline on [-bound, bound], and the identity outside.

    In a bin from (x_k, y_k) of width w, height h, mean slope s = h / w and slopes d_0, d_1 at its ends, with
    xi = (x - x_k) / w: z = y_k + h (s xi² + d_0 xi (1 - xi)) / (s + (d_0 + d_1 - 2 s) xi (1 - xi)).
    theta: logits of the widths (bins), of the heights (bins), and the inner knots' slopes before a softplus (bins - 1).

    Args:
        bins: 2 or more.
        bound: > 0.

    Reference: Neural Spline Flows, Conor Durkan, Artur Bekasov, Iain Murray and George Papamakarios, 2019,
        https://arxiv.org/abs/1906.04032
    """

    def __init__(self, bins: int, bound: float) -> None:
        self.bins, self.bound = bins, bound
        self.parameters = 3 * bins - 1

    def forward(self, x: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Evaluate the spline; beyond ±bound the clamped number lies where the slope is 1, so z - x is 0 there."""
        inside = x.clamp(-self.bound, self.bound)
        width, height, left, bottom, d0, d1 = self._bin(inside, theta, 0)
        xi = ((inside - left) / width).clamp(0, 1)  # rounding must not leave the bin: beside it slopes may be negative
        z, log_slope = _evaluate(xi, height / width, d0, d1)
        return torch.addcmul(bottom, height, z) + (x - inside), log_slope

    def inverse(self, z: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Solve the bin's quadratic for xi, in the form that loses no digits; rounding cannot make its root complex."""
        inside = z.clamp(-self.bound, self.bound)
        width, height, left, bottom, d0, d1 = self._bin(inside, theta, 1)
        up, s = (inside - bottom) / height, height / width
        bend = (d0 + d1 - 2 * s) * up
        a, b, c = s - d0 + bend, d0 - bend, -s * up
        root = (b * b - 4 * a * c).clamp(min=0).sqrt()
        xi = (2 * c / (-b - root)).clamp(0, 1)
        return torch.addcmul(left, width, xi) + (z - inside), -_evaluate(xi, s, d0, d1)[1]

    def _bin(self, x: Tensor, theta: Tensor, axis: int) -> tuple[Tensor, ...]:
        """Return width, height, left, bottom and both slopes of the bin that x (axis 0) or z (axis 1) lies in."""
        k, bound = self.bins, self.bound
        share = theta[: 2 * k].view(2, k, *x.shape).softmax(1)
        size = share * (2 * bound * (1 - k * SMALLEST)) + 2 * bound * SMALLEST
        end = size.cumsum(1) - bound
        slope = functional.softplus(theta[2 * k :] + _IDENTITY) + SMALLEST
        edge = torch.ones_like(slope[:1])
        bin_ = (x >= end[axis, :-1]).sum(0)
        tables = [size.flatten(0, 1), (end - size).flatten(0, 1), edge, slope, slope, edge]
        table = torch.cat(tables).view(6, k, *x.shape)  # one copy: many small operations are what a spline costs
        return table.gather(1, bin_.expand(6, 1, *x.shape)).squeeze(1).unbind(0)


def _evaluate(xi: Tensor, s: Tensor, d0: Tensor, d1: Tensor) -> tuple[Tensor, Tensor]:
    """Return (z - bottom) / height and log dz/dx, at the share xi of a bin's width."""
    rest = 1 - xi
    both, low, high = xi * rest, d0 * rest, d1 * xi
    below = torch.addcmul(s, torch.sub(d0 + d1, s, alpha=2), both)
    z = xi * torch.addcmul(low, s, xi) / below
    slope = torch.addcmul(torch.addcmul(high * xi, low, rest), s, both, value=2)
    return z, (slope * (s / below).square()).log()


class Coupling(Transform):
    """(a, b) -> (a, f(b; theta(a))): one half of the dimensions says how each of the other is moved.

    Args:
        dims: of one x, 2 or more.
        first: whether the first half moves; else the second.
        elementwise: how a dimension is moved.
        classes: of the labels that the network sees; 0 for none.
        network: makes the network: (inputs, outputs, classes, None) -> Module.
    """

    def __init__(
        self,
        dims: int,
        first: bool,
        elementwise: Elementwise,
        classes: int,
        network: Callable[[int, int, int, None], Any],
    ) -> None:
        super().__init__()
        self.sizes = [dims - dims // 2, dims // 2]
        self.moved = 0 if first else 1
        self.elementwise = elementwise
        sees, moves = self.sizes[1 - self.moved], self.sizes[self.moved]
        self.network = network(sees, elementwise.parameters * moves, classes, None)

    def forward_and_log_det(self, x: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Move one half."""
        return self._move(x, y, self.elementwise.forward)

    def inverse_and_log_det(self, z: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Move it back: what says how was not moved."""
        return self._move(z, y, self.elementwise.inverse)

    def _move(
        self, x: Tensor, y: Tensor | None, by: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
    ) -> tuple[Tensor, Tensor]:
        halves = list(torch.split(x, self.sizes, 1))
        theta: Tensor = self.network(halves[1 - self.moved], y)
        theta = theta.view(len(x), self.elementwise.parameters, -1).transpose(0, 1).contiguous()
        halves[self.moved], log_slope = by(halves[self.moved], theta)
        return torch.cat(halves, 1), log_slope.sum(1)
