"""The rational-quadratic spline: its inverse, its slope, its ends; and the laws seen to catch faults."""

import pytest
import torch

from gentool.probability.transforms import spline as module
from gentool.probability.transforms.spline import Affine, Spline

SPLINE = Spline(8, 5.0)


def some(n=400, spread=2.0, seed=0):
    g = torch.Generator().manual_seed(seed)
    x = 4 * torch.randn(n, dtype=torch.float64, generator=g)  # a good part of it outside ±5
    return x, spread * torch.randn(SPLINE.parameters, n, dtype=torch.float64, generator=g)


def inverse_undoes_forward() -> None:
    x, theta = some()
    z, log_slope = SPLINE.forward(x, theta)
    back, log_inverse = SPLINE.inverse(z, theta)
    torch.testing.assert_close(back, x, rtol=0, atol=1e-9)
    torch.testing.assert_close(log_inverse, -log_slope, rtol=0, atol=1e-7)


def slope_is_the_derivative() -> None:
    x, theta = some()
    x.requires_grad_()
    z, log_slope = SPLINE.forward(x, theta)
    (derivative,) = torch.autograd.grad(z.sum(), x)
    torch.testing.assert_close(log_slope.exp(), derivative)


def spline_is_continuous() -> None:
    """On one fine walk it rises, in steps no longer than the largest slope allows, and its slope changes by little."""
    x = torch.linspace(-6, 6, 20001, dtype=torch.float64)
    _, theta = some(1, spread=0.5, seed=3)
    z, log_slope = SPLINE.forward(x, theta.expand(-1, len(x)))
    step = z.diff()
    assert (step > 0).all(), "the spline falls"
    assert (step <= (x[1] - x[0]) * log_slope.exp().max() * 1.01).all(), "the spline jumps"
    assert log_slope.diff().abs().max() < 0.1, "its slope jumps"
    outside = x.abs() >= 5
    torch.testing.assert_close(z[outside], x[outside])
    torch.testing.assert_close(log_slope[outside], torch.zeros_like(log_slope[outside]))


LAWS = [inverse_undoes_forward, slope_is_the_derivative, spline_is_continuous]


@pytest.mark.parametrize("law", LAWS)
def test_spline(law):
    law()


def wrong_slope(old):
    def wrong(xi, s, d0, d1):
        z, log_slope = old(xi, s, d0, d1)
        return z, log_slope - s.log()  # one of the two factors s of the derivative

    return wrong


def wrong_knots(old):
    def wrong(self, x, theta, axis):
        width, height, left, bottom, d0, d1 = old(self, x, theta, axis)
        return width, height, left + 1e-3 * axis, bottom, d0, d1

    return wrong


def wrong_derivatives(old):
    def wrong(self, x, theta, axis):
        width, height, left, bottom, d0, d1 = old(self, x, theta, axis)
        return width, height, left, bottom, d1, d0

    return wrong


@pytest.mark.parametrize(
    ("law", "owner", "name", "fault"),
    [
        (inverse_undoes_forward, Spline, "_bin", wrong_knots),
        (slope_is_the_derivative, module, "_evaluate", wrong_slope),
        (spline_is_continuous, Spline, "_bin", wrong_derivatives),
    ],
)
def test_faults_are_caught(law, owner, name, fault, monkeypatch):
    monkeypatch.setattr(owner, name, fault(getattr(owner, name)))
    with pytest.raises(AssertionError):
        law()


def test_no_parameters_is_the_identity():
    x, _ = some()
    for elementwise in (SPLINE, Affine(3.0)):
        z, log_slope = elementwise.forward(x, torch.zeros(elementwise.parameters, len(x), dtype=torch.float64))
        torch.testing.assert_close(z, x)
        torch.testing.assert_close(log_slope, torch.zeros_like(x))


def test_affine():
    x, theta = some()
    affine = Affine(3.0)
    z, log_slope = affine.forward(x, 20 * theta[:2])
    assert log_slope.abs().max() <= 3
    back, log_inverse = affine.inverse(z, 20 * theta[:2])
    torch.testing.assert_close(back, x)
    torch.testing.assert_close(log_inverse, -log_slope)


def test_extreme_parameters_stay_finite_both_ways_in_fp32():
    for spread in (30.0, 300.0):
        x, theta = (t.float() for t in some(spread=spread))
        theta.requires_grad_()
        z, log_slope = SPLINE.forward(x, theta)
        (log_slope.sum() + z.sum()).backward()
        back, log_inverse = SPLINE.inverse(z.detach(), theta.detach())
        for t in (z, log_slope, theta.grad, back, log_inverse):
            assert torch.isfinite(t).all()
        assert (log_inverse <= -log_slope.min() + 10).all()


def test_knots_map_to_knots():
    """Equal widths and heights in a share of the interval, by hand: two bins, (-5, 0, 5) -> (-5, 2.5 - tiny, 5)."""
    two = Spline(2, 5.0)
    theta = torch.tensor([0.0, 0.0, 3.0, 1.0, 0.0], dtype=torch.float64).log().nan_to_num(neginf=0.0)[:, None]
    middle = -5 + 10 * (0.75 * (1 - 2 * module.SMALLEST) + module.SMALLEST)
    z, _ = two.forward(torch.zeros(1, dtype=torch.float64), theta)
    torch.testing.assert_close(z, torch.tensor([middle], dtype=torch.float64))
