"""Linear maps in fp32 at the speed of the machine: oneDNN where torch's own choice leaves half of it unused.

torch hands fp32 matrix products to MKL, which on CPUs that are not Intel's computes with vectors of half the width;
oneDNN, which torch brings along, looks at what the CPU can do. On an AMD EPYC with AVX-512 it was 2.0 times as fast
(docs/benchmarks.md). The sums are the same, in another order.
"""

from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

SMALLEST = 2**22
"""Products of one call from which oneDNN is worth its fixed cost of some microseconds."""


class Linear(nn.Linear):
    """A linear layer, y = x Wᵀ + b, by `linear`."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (…, inputs) to (…, outputs)."""
        return linear(x, self.weight, self.bias)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return x weightᵀ + bias, by whichever library is faster here; derivatives of every order exist.

    Args:
        x: (…, inputs).
        weight: (outputs, inputs).
        bias: (outputs,), or None.

    Returns:
        (…, outputs).
    """
    if not _worth_it(x, weight):
        return functional.linear(x, weight, bias)
    product: Tensor = _Product.apply(x.reshape(-1, x.shape[-1]), weight)
    out = product if bias is None else product + bias
    return out.reshape(*x.shape[:-1], -1)


def matmul(a: Tensor, b: Tensor) -> Tensor:
    """Return a b, of (n, k) and (k, m), by whichever library is faster here."""
    product: Tensor = _Product.apply(a, b.t()) if _left_unused() and _worth_it(a, b.t()) else a.mm(b)
    return product


class _Product(torch.autograd.Function):
    """a bᵀ of a (n, k) and b (m, k); its derivatives are products again."""

    generate_vmap_rule = True

    @staticmethod
    def forward(a: Tensor, b: Tensor) -> Tensor:
        product: Tensor = torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], "")
        return product

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None]:
        a, b = ctx.saved_tensors
        [g] = gradients
        by_a, by_b = ctx.needs_input_grad
        return linear(g, b.t()) if by_a else None, linear(g.t(), a.t()) if by_b else None

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> Tensor:
        a, b = ctx.saved_tensors
        da, db = tangents
        parts = [p for p in (None if da is None else da @ b.t(), None if db is None else a @ db.t()) if p is not None]
        return torch.stack(parts).sum(0)


def _worth_it(x: Tensor, weight: Tensor) -> bool:
    return (
        _left_unused()  # first: on most machines it is all that is asked, and all of it took a tenth of a small product
        and x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and x.numel() * weight.shape[0] >= SMALLEST
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
    )


@cache
def _left_unused() -> bool:
    """Whether this CPU has AVX-512, is not Intel's, and torch has both libraries."""
    cpu = Path("/proc/cpuinfo")
    return (
        torch.backends.cpu.get_cpu_capability() == "AVX512"
        and torch.backends.mkl.is_available()  # type: ignore[no-untyped-call]
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
        and cpu.is_file()
        and "GenuineIntel" not in cpu.read_text()
    )
