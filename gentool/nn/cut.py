"""The product of masked layers: blocks of a mask that are all zero are never multiplied."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

WORTH = 0.8
"""Share of a mask above which its blocks cost more than they save."""

Block = tuple[int, int, int, int]
"""Rows [a, b) of a mask have ones in the columns [c, d) only."""

PARTS = 8
"""Row blocks of a mask: in a given order the product costs 56 % of the whole; more parts save little."""

SMALLEST = 2**18
"""Entries of a mask from which blocks pay: below, 8 small products take longer than one."""


def blocks_of(mask: Tensor) -> list[Block]:
    """Return row blocks of a mask (outputs, inputs) that cover its ones; one of everything where that is faster."""
    whole = [(0, len(mask), 0, mask.shape[1])]
    if mask.numel() < SMALLEST or mask.is_meta:  # a model is sized before it is built
        return whole
    blocks, a = [], 0
    for rows in mask.chunk(PARTS * max(1, len(mask) // max(mask.shape[1], 1))):
        seen = rows.any(0).nonzero()
        blocks.append(
            (a, a + len(rows), int(seen.min()), int(seen.max()) + 1) if len(seen) else (a, a + len(rows), 0, 0)
        )
        a += len(rows)
    return blocks if sum((b - a) * (d - c) for a, b, c, d in blocks) < WORTH * mask.numel() else whole


class _CutProduct(torch.autograd.Function):
    """x (weight * mask)ᵀ by blocks, in the type of x, with the gradient of the weight in its own."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, mask: Tensor, blocks: Sequence[Block]) -> Tensor:
        kept = [(weight[a:b, c:d] * mask[a:b, c:d]).to(x.dtype) for a, b, c, d in blocks]
        out = x.new_empty(len(x), len(weight))
        for (a, b, c, d), w in zip(blocks, kept, strict=True):
            torch.mm(x[:, c:d], w.T, out=out[:, a:b])
        ctx.blocks = blocks
        ctx.save_for_backward(x, mask, *kept)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, Tensor, None, None]:
        x, mask, *kept = ctx.saved_tensors
        of_weight = torch.zeros_like(mask)
        of_x = torch.zeros_like(x) if ctx.needs_input_grad[0] else None
        for (a, b, c, d), w in zip(ctx.blocks, kept, strict=True):
            torch.mul(g[:, a:b].T @ x[:, c:d], mask[a:b, c:d], out=of_weight[a:b, c:d])
            if of_x is not None:
                of_x[:, c:d] += g[:, a:b] @ w
        return of_x, of_weight, None, None


def cut_linear(x: Tensor, weight: Tensor, mask: Tensor, bias: Tensor, blocks: Sequence[Block]) -> Tensor:
    """Return x (weight * mask)ᵀ + bias; under autocast in its type.

    Args:
        x: (batch, inputs).
        weight: (outputs, inputs).
        mask: (outputs, inputs) float of 0 and 1.
        bias: (outputs,).
        blocks: of the mask.

    Returns:
        (batch, outputs).
    """
    if torch.is_autocast_enabled(x.device.type):
        dtype = torch.get_autocast_dtype(x.device.type)
        x, bias = x.to(dtype), bias.to(dtype)
        weight, mask = (weight.to(dtype), mask.to(dtype)) if len(blocks) == 1 else (weight, mask)
    if len(blocks) == 1:
        return torch.nn.functional.linear(x, weight * mask, bias)
    product: Tensor = _CutProduct.apply(x, weight, mask, blocks)
    return product + bias
