"""Ordinary differential equations of many examples at once, and what they do to a density.

dx/dt = field(x, t). With div the trace of the field's Jacobian in x, log p falls along a path by the integral of div
over t: d log p(x_t) / dt = -div field(x_t, t), the instantaneous change of variables.
"""

from collections import deque
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from gentool.errors import RunError

Field = Callable[[Tensor, Tensor], Tensor]
"""Maps x (batch, *shape) and t (batch,) to dx/dt (batch, *shape); each example alone."""

Method = Literal["euler", "heun", "rk4", "dopri5"]

LIMIT = 10_000
"""Steps after which an adaptive solver gives up."""

EXACT_DIMS = 16
"""Dimensions up to which a divergence is cheap enough to be exact."""


class Tableau(NamedTuple):
    """An explicit Runge-Kutta method: k_i = field(x + h sum_j matrix[i][j] k_j, t + nodes[i] h), x += h weights k.

    Attributes:
        nodes: share of the step at which each stage stands.
        matrix: of each stage, the weights of those before.
        weights: of the stages in the step.
        error: of the stages in the difference to a method of one order less; empty where there is none.
    """

    nodes: tuple[float, ...]
    matrix: tuple[tuple[float, ...], ...]
    weights: tuple[float, ...]
    error: tuple[float, ...] = ()


TABLEAUS: dict[Method, Tableau] = {
    "euler": Tableau((0,), ((),), (1,)),
    "heun": Tableau((0, 1), ((), (1,)), (1 / 2, 1 / 2)),
    "rk4": Tableau((0, 1 / 2, 1 / 2, 1), ((), (1 / 2,), (0, 1 / 2), (0, 0, 1)), (1 / 6, 1 / 3, 1 / 3, 1 / 6)),
    # A family of embedded Runge-Kutta formulae, J. R. Dormand and P. J. Prince, 1980,
    # https://doi.org/10.1016/0771-050X(80)90013-3; its last stage is the first of the next step
    "dopri5": Tableau(
        (0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1, 1),
        (
            (),
            (1 / 5,),
            (3 / 40, 9 / 40),
            (44 / 45, -56 / 15, 32 / 9),
            (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
            (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
            (35 / 384, 0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
        ),
        (35 / 384, 0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84, 0),
        (71 / 57600, 0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40),
    ),
}


class Step(NamedTuple):
    """Where a solver stands after a step.

    Attributes:
        x: (batch, *shape).
        evaluations: of the field so far, each of the whole batch.
    """

    x: Tensor
    evaluations: int


def integrate(
    field: Field, x: Tensor, t0: float, t1: float, *, method: Method, steps: int, tolerance: float
) -> tuple[Tensor, int]:
    """Follow dx/dt = field(x, t) from t0 to t1, forwards or backwards.

    Args:
        field: maps x (batch, *shape) and t (batch,) to dx/dt.
        x: (batch, *shape) float, at t0.
        t0: where x is given.
        t1: where x is wanted.
        method: euler, heun, rk4 (of order 1, 2, 4) by equal steps; dopri5 by steps that each example chooses for
            itself, so that none sees the rest of its batch.
        steps: of euler, heun and rk4, 1 or more.
        tolerance: dopri5: error of a step, absolute and relative, > 0.

    Returns:
        x (batch, *shape) at t1, and how often the field was evaluated.
    """
    last = deque(trajectory(field, x, t0, t1, method=method, steps=steps, tolerance=tolerance), maxlen=1)
    return last[0].x, last[0].evaluations


def trajectory(
    field: Field, x: Tensor, t0: float, t1: float, *, method: Method, steps: int, tolerance: float
) -> Iterator[Step]:
    """Yield where `integrate` stands after each of its steps; under dopri5 examples differ in the t they have reached.

    Args:
        field: as in `integrate`, and so are the rest.
        x: (batch, *shape) float, at t0.
        t0: where x is given.
        t1: where x is wanted.
        method: of the solver.
        steps: of equal length.
        tolerance: of an adaptive step.

    Yields:
        The step; the last is the solution.
    """
    table = TABLEAUS[method]
    if table.error:
        yield from _adaptive(table, field, x, t0, t1, tolerance)
        return
    for i in range(steps):
        t = x.new_full((len(x),), t0 + (t1 - t0) * i / steps)
        h = x.new_full((len(x),), (t1 - t0) / steps)
        stages = _stages(table, field, x, t, h, field(x, t))
        x = _moved(x, h, table.weights, stages)
        yield Step(x, (i + 1) * len(table.nodes))


def integrate_with_log_det(
    field: Field,
    x: Tensor,
    t0: float,
    t1: float,
    *,
    method: Method,
    steps: int,
    tolerance: float,
    probes: Tensor | None,
) -> tuple[Tensor, Tensor, int]:
    """Follow dx/dt = field(x, t) and log |det dx(t1)/dx(t0)|, the integral of the field's divergence.

    Args:
        field: as in `integrate`; differentiable in x.
        x: (batch, *shape) float, at t0.
        t0: where x is given.
        t1: where x is wanted.
        method: as in `integrate`; dopri5 holds the log-determinant's error to the tolerance, too.
        steps: of euler, heun and rk4, 1 or more.
        tolerance: dopri5: error of a step, absolute and relative, > 0.
        probes: (k, batch, *shape) of Hutchinson's estimate, the mean of e . (d field / dx) e; None: exact.

    Returns:
        x (batch, *shape) at t1, the log-determinant (batch,), and how often the field was evaluated.

    Reference: FFJORD: Free-form Continuous Dynamics for Scalable Reversible Generative Models, Will Grathwohl et al.,
        2018, https://arxiv.org/abs/1810.01367
    """
    shape = x.shape

    def both(state: Tensor, t: Tensor) -> Tensor:
        slope, divergence = _with_divergence(field, state[:, :-1].reshape(shape), t, probes)
        return torch.cat([slope.flatten(1), divergence[:, None]], 1)

    state = torch.cat([x.flatten(1), x.new_zeros(len(x), 1)], 1)
    state, evaluations = integrate(both, state, t0, t1, method=method, steps=steps, tolerance=tolerance)
    return state[:, :-1].reshape(shape), state[:, -1], evaluations


def draw_probes(x: Tensor, probes: int) -> Tensor | None:
    """Draw the signs of Hutchinson's estimate of a divergence, or None where the exact one is cheap.

    Args:
        x: (batch, *shape), of which shape and device are taken.
        probes: how many an example, 1 or more.

    Returns:
        (probes, batch, *shape) of -1 and 1; None in up to `EXACT_DIMS` dimensions.
    """
    if x[0].numel() <= EXACT_DIMS:
        return None
    return torch.randint(0, 2, (probes, *x.shape), device=x.device).to(x.dtype) * 2 - 1


def _with_divergence(field: Field, x: Tensor, t: Tensor, probes: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the field (batch, *shape) and its divergence (batch,); no graph hangs on them."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        slope = field(x, t)
        if not slope.requires_grad:  # a field that does not depend on x
            return slope, x.new_zeros(len(x))
        directions = _axes(x) if probes is None else probes
        parts = []
        for i, e in enumerate(directions):
            [pulled] = torch.autograd.grad((slope * e).sum(), x, retain_graph=i + 1 < len(directions))
            parts.append((pulled * e).flatten(1).sum(1))
    stacked = torch.stack(parts)
    return slope.detach(), stacked.sum(0) if probes is None else stacked.mean(0)


def _axes(x: Tensor) -> Tensor:
    """Return the unit vectors of x's space, (dims, 1, *shape)."""
    dims = x[0].numel()
    return torch.eye(dims, dtype=x.dtype, device=x.device).reshape(dims, 1, *x.shape[1:])


def _stages(table: Tableau, field: Field, x: Tensor, t: Tensor, h: Tensor, first: Tensor) -> list[Tensor]:
    stages = [first]
    for node, row in zip(table.nodes[1:], table.matrix[1:], strict=True):
        stages.append(field(_moved(x, h, row, stages), t + node * h))
    return stages


def _moved(x: Tensor, h: Tensor, weights: tuple[float, ...], stages: list[Tensor]) -> Tensor:
    """Return x + h sum_i weights[i] stages[i], with a step h (batch,) of each example's own."""
    return x + _like(h, x) * _sum(weights, stages)


def _sum(weights: tuple[float, ...], stages: list[Tensor]) -> Tensor:
    total = torch.zeros_like(stages[0])
    for weight, stage in zip(weights, stages, strict=True):
        if weight:
            total = total.add(stage, alpha=weight)
    return total


def _like(each: Tensor, x: Tensor) -> Tensor:
    return each.reshape(-1, *[1] * (x.dim() - 1))


def _adaptive(table: Tableau, field: Field, x: Tensor, t0: float, t1: float, tolerance: float) -> Iterator[Step]:
    """Yield after each attempt at a step; an example moves where its error is within the tolerance."""
    t = x.new_full((len(x),), t0)
    end = torch.full_like(t, t1)
    h = torch.full_like(t, 0.1 * tolerance**0.2 * (t1 - t0))
    first, evaluations = field(x, t), 1
    for _ in range(LIMIT):
        last = h.abs() >= (end - t).abs()
        h = torch.where(last, end - t, h)  # zero for an example that has arrived
        stages = _stages(table, field, x, t, h, first)
        evaluations += len(stages) - 1
        moved = _moved(x, h, table.weights, stages)
        size = tolerance * (1 + torch.maximum(x.abs(), moved.abs()))
        error = (_like(h, x) * _sum(table.error, stages) / size).flatten(1).square().mean(1).sqrt()
        good = error <= 1
        x = torch.where(_like(good, x), moved, x)
        first = torch.where(_like(good, x), stages[-1], first)
        t = torch.where(good, torch.where(last, end, t + h), t)
        yield Step(x, evaluations)
        if bool((t == end).all()):
            return
        factor = (0.9 * error.clamp(min=1e-10) ** -0.2).clamp(0.2, 5.0)
        h = h * torch.nan_to_num(factor, nan=0.2)
    raise RunError(f"dopri5 took {LIMIT} steps from t={t0} and did not reach t={t1}: try a larger sampler.tolerance")
