"""Masked autoregressive flows: the inverse, one dimension after the other, and what it is worth."""

import pytest
import torch

from gentool.nn.masked import MADE
from gentool.probability.transforms.masked_autoregressive import MaskedAutoregressive
from gentool.probability.transforms.spline import Affine, Spline
from gentool.training.rng import fork

DIMS = 5


def transform(elementwise, order="raster", classes=0):
    """One with weights that are not zero, so that every dimension matters."""

    def network(dims, outputs_per_dim, classes, order):
        return MADE((dims,), outputs_per_dim, classes, [16, 12], "tanh", order, 1, False, False).double()

    with fork(0):
        return MaskedAutoregressive(DIMS, order, elementwise, classes, network)


def solved_one_by_one(t, z, y=None):
    """Invert by whole forward passes alone: the i-th gives the i-th dimension of the order what it needs."""
    x = torch.zeros_like(z)
    for dim in t.network.order.tolist():
        theta = t.network(x, y).transpose(0, 1)
        x[:, dim] = t.elementwise.inverse(z, theta)[0][:, dim]
    return x


def inverse_is_the_solution(t, y=None) -> None:
    with fork(1), torch.no_grad():
        z = torch.randn(7, DIMS, dtype=torch.float64)
        x, log_det = t.inverse_and_log_det(z, y)
        torch.testing.assert_close(x, solved_one_by_one(t, z, y))
        again, forth = t.forward_and_log_det(x, y)
    torch.testing.assert_close(again, z)
    torch.testing.assert_close(log_det, -forth)


@pytest.mark.parametrize("elementwise", [Affine(3.0), Spline(4, 3.0)], ids=["affine", "spline"])
@pytest.mark.parametrize("order", ["raster", "reversed"])
def test_inverse(elementwise, order):
    inverse_is_the_solution(transform(elementwise, order))


def test_inverse_given_a_label():
    t, y = transform(Affine(3.0), classes=3), torch.tensor([0, 1, 2, 0, 1, 2, 0])
    inverse_is_the_solution(t, y)
    with torch.no_grad():
        z = torch.zeros(7, DIMS, dtype=torch.float64)
        assert not torch.allclose(t.inverse_and_log_det(z, y)[0][0], t.inverse_and_log_det(z, y)[0][1])


@pytest.mark.parametrize(
    "fault",
    [
        lambda old: lambda self, state, i, x_prev: old(self, state, i, None),  # forgets what was found
        lambda old: lambda self, state, i, x_prev: old(self, state, max(0, i - 1), x_prev),  # one behind
    ],
)
def test_a_wrong_step_is_caught(fault, monkeypatch):
    t = transform(Affine(3.0))
    monkeypatch.setattr(MADE, "step", fault(MADE.step))
    with pytest.raises(AssertionError):
        inverse_is_the_solution(t)


def test_the_jacobian_is_triangular_in_alternating_orders():
    for order, upper in (("raster", False), ("reversed", True)):
        t = transform(Affine(3.0), order)
        x = torch.randn(1, DIMS, dtype=torch.float64)
        jacobian = torch.autograd.functional.jacobian(lambda v, t=t: t.forward_and_log_det(v)[0], x)[0, :, 0]
        zero = jacobian.tril(-1) if upper else jacobian.triu(1)
        assert (zero == 0).all() and (jacobian != 0).sum() > DIMS
