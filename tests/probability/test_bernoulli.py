"""The fast log p of bits against torch's own, value and gradients."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from gentool.probability import bernoulli


def cases() -> tuple[Tensor, Tensor]:
    logits = torch.tensor([-2000.0, -50.0, -3.0, -1e-6, 0.0, 1e-6, 0.7, 30.0, 2000.0], dtype=torch.float64)
    return logits.repeat(2), torch.arange(2.0, dtype=torch.float64).repeat_interleave(len(logits))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_value_and_gradient_are_torchs(dtype: torch.dtype) -> None:
    logits, x = (t.to(dtype) for t in cases())
    logits.requires_grad_()
    ours, theirs = (
        bernoulli.log_prob(x, logits),
        -functional.binary_cross_entropy_with_logits(logits, x, reduction="none"),
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7)
    slopes = [torch.autograd.grad(value.sum(), logits, retain_graph=True)[0] for value in (ours, theirs)]
    torch.testing.assert_close(*slopes, rtol=1e-6, atol=1e-7)


def test_gradient_and_second_gradient_against_finite_differences() -> None:
    logits = torch.linspace(-3, 3, 8, dtype=torch.float64).requires_grad_()
    x = torch.tensor([0.0, 1.0]).repeat(4).double()
    assert torch.autograd.gradcheck(lambda t: bernoulli.log_prob(x, t), logits)
    assert torch.autograd.gradgradcheck(lambda t: bernoulli.log_prob(x, t), logits)


def test_draws_broadcast() -> None:
    x, logits = torch.randint(0, 2, (4, 5), dtype=torch.uint8), torch.randn(3, 4, 5)
    ours = bernoulli.log_prob(x, logits)
    theirs = torch.stack([bernoulli.log_prob(x, draw) for draw in logits])
    torch.testing.assert_close(ours, theirs)


def test_log_sigmoid_is_torchs() -> None:
    x = torch.linspace(-60, 60, 241, dtype=torch.float64).requires_grad_()
    ours, theirs = bernoulli.log_sigmoid(x), functional.logsigmoid(x)
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-15)
    torch.testing.assert_close(*(torch.autograd.grad(v.sum(), x)[0] for v in (ours, theirs)))
