"""Linear maps by oneDNN: the same values and derivatives as torch's own, of every order, wherever they may be used."""

import pytest
import torch
from torch.nn import functional

from gentool.nn import linear as module
from gentool.nn.linear import Linear, linear

FAST = pytest.mark.skipif(not module._left_unused(), reason="torch's own choice is the fast one on this CPU")


@pytest.fixture(autouse=True)
def _small_enough(monkeypatch):
    monkeypatch.setattr(module, "SMALLEST", 1)


def operands(*shape: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    x, weight, bias = (torch.randn(s, generator=g, requires_grad=True) for s in ((*shape, 6), (4, 6), (4,)))
    return x, weight, bias


@pytest.mark.parametrize("shape", [(5,), (2, 3), (1,), (0,)])
@pytest.mark.parametrize("with_bias", [True, False])
def test_values_and_derivatives_are_those_of_torch(shape, with_bias):
    x, weight, bias = operands(*shape)
    results = []
    for f in (linear, functional.linear):
        out = f(x, weight, bias if with_bias else None)
        first = torch.autograd.grad(out.tanh().square().sum(), (x, weight), create_graph=True)
        second = torch.autograd.grad(sum(g.square().sum() for g in first), (x, weight))
        results.append([out, *first, *second])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_a_product_is_that_of_torch():
    a, b, _ = operands(5)
    torch.testing.assert_close(module.matmul(a, b.t()), a @ b.t(), rtol=1e-4, atol=1e-5)


@FAST
def test_it_is_taken_where_it_is_faster_and_only_there(monkeypatch):
    x, weight, bias = operands(5)
    taken = []
    real = module._Product.apply
    monkeypatch.setattr(module._Product, "apply", lambda *a: taken.append(1) or real(*a))
    linear(x, weight, bias)
    assert len(taken) == 1
    linear(x.double(), weight.double(), bias.double())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert linear(x, weight, bias).dtype == torch.bfloat16
    monkeypatch.setattr(module, "SMALLEST", 10**9)
    linear(x, weight, bias)
    assert len(taken) == 1


def test_functional_transforms_work():
    x, weight, bias = operands(5)
    jacobian = torch.func.jacrev(lambda v: linear(v, weight, bias))(x)
    torch.testing.assert_close(jacobian, torch.func.jacrev(lambda v: functional.linear(v, weight, bias))(x))
    each = torch.func.vmap(torch.func.jacrev(lambda v: linear(v, weight, bias)))(x)
    torch.testing.assert_close(each, weight.expand(5, 4, 6))
    _, tangent = torch.func.jvp(lambda v: linear(v, weight, bias), (x,), (torch.ones_like(x),))
    torch.testing.assert_close(tangent, weight.sum(1).expand(5, 4))


def test_the_layer_keeps_the_names_of_a_linear_layer():
    layer = Linear(6, 4)
    assert list(layer.state_dict()) == ["weight", "bias"]
    torch.testing.assert_close(layer(torch.ones(2, 6)), (layer.weight.sum(1) + layer.bias).expand(2, 4))
